/** Backup codes, shown once: the server keeps only what they hash to. */
import { button, fill, h } from './dom.js';
import { t } from './texts.js';

/** `codes`, and what is done with them; `finish` is called once they are kept. The heading is the first element. */
export function backupCodes(codes, finish) {
  const done = button(t('own.kept.do'), finish, { class: 'primary', disabled: true });
  const kept = h('input', { type: 'checkbox', id: 'kept', on: { change: () => (done.disabled = !kept.checked) } });
  const copied = h('span', { class: 'small quiet-text', role: 'status' });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(codes.join('\n'));
      fill(copied, t('own.copied'));
    } catch {
      fill(copied, t('own.uncopied'));
    }
  };
  return [
    h('h2', { tabindex: '-1' }, t('own.codes.title')),
    h('p', {}, t('own.codes.lead')),
    h(
      'ul',
      { class: 'codes', translate: 'no' },
      codes.map((code) => h('li', {}, h('code', {}, code))),
    ),
    h(
      'div',
      { class: 'row-actions' },
      navigator.clipboard && button(t('own.copy'), copy),
      button(t('own.print'), () => window.print()),
      copied,
    ),
    h('p', { class: 'check' }, kept, h('label', { for: 'kept' }, t('own.kept'))),
    h('div', { class: 'row-actions' }, done),
  ];
}
