/** Mail that waits to be delivered, and mail that nobody could be brought. */
import { get } from './api.js';
import { chip, data, h } from './dom.js';
import { pagedList } from './list.js';
import { rich, t, time, word } from './texts.js';

const KINDS = { waiting: 'quiet', sending: 'good', dead: 'bad' };

/** The screen: the oldest first. */
export function mailScreen({ signal }) {
  return pagedList({
    label: t('nav.mail'),
    columns: [t('mail.to'), t('mail.subject'), t('mail.state'), t('mail.queued'), t('mail.next')],
    load: async (after, count) => {
      const page = await get('second-factor.outbox', { count, after }, signal);
      return { items: page.mails, next: page.next };
    },
    cells: (mail) => [
      data(mail.to, 'strong'),
      data(mail.subject),
      [
        chip(KINDS[mail.state] ?? 'quiet', word('mail', mail.state)),
        mail.tries > 0 && h('div', { class: 'small quiet-text' }, rich('mail.tries', { count: mail.tries })),
        mail.lastError && data(mail.lastError, 'div', { class: 'small quiet-text' }),
      ],
      time(mail.queued),
      mail.nextTry && time(mail.nextTry),
    ],
    empty: [t('mail.none')],
    signal,
  }).element;
}
