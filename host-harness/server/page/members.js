/** Members, their second factors and locks. */
import { get } from './api.js';
import { button, chip, data, h } from './dom.js';
import { FEW_CODES } from './factor.js';
import { Field } from './field.js';
import { pagedList } from './list.js';
import { address, go } from './place.js';
import { resetDialog } from './reset.js';
import { rich, t, timeOfDay } from './texts.js';
import { unlockDialog } from './unlock.js';

/** The screen: a search, a filter, and the list. */
export function membersScreen({ query, signal }) {
  const search = query.get('search') ?? '';
  const locked = query.get('locked') === 'true';
  const field = new Field(
    t('members.search'),
    { type: 'search', name: 'search', value: search, maxlength: 128, autocomplete: 'off' },
    t('members.search.hint'),
  );
  const narrowed = (text, isLocked) => ({ search: text, locked: isLocked && 'true' });
  const form = h(
    'form',
    {
      role: 'search',
      class: 'filters finder',
      on: {
        submit: (event) => {
          event.preventDefault();
          go('members', narrowed(field.value, locked));
        },
      },
    },
    field.element,
    h('button', {}, t('members.search.do')),
    h(
      'nav',
      { class: 'switch', 'aria-label': t('members.show') },
      [false, true].map((which) =>
        h(
          'a',
          { href: address('members', narrowed(search, which)), 'aria-current': which === locked ? 'true' : false },
          t(which ? 'members.locked' : 'members.all'),
        ),
      ),
    ),
  );
  return [form, memberList({ search, locked, signal })];
}

function memberList({ search, locked, signal }) {
  const isNarrowed = search !== '' || locked;
  const list = pagedList({
    label: t('nav.members'),
    columns: [t('members.member'), t('members.factor'), t('members.roles'), t('members.sessions'), ''],
    load: async (after, count) => {
      const page = await get('second-factor.members', { search, locked: locked || undefined, count, after }, signal);
      return { items: page.members, next: page.next };
    },
    cells: (member) => cells(member, () => list.reload()),
    empty: [t(isNarrowed ? 'members.none' : 'members.nobody')],
    signal,
  });
  return list.element;
}

function cells(member, changed) {
  const { secondFactor, locked } = member;
  const verified = member.emails.find((email) => email.verified) ?? member.emails[0];
  return [
    [
      h(
        'div',
        { class: 'member' },
        data(member.username, 'strong'),
        member.name && data(member.name, 'span', { class: 'quiet-text' }),
        !member.active && chip('quiet', t('members.inactive')),
        member.federated && chip('quiet', t('members.federated')),
      ),
      verified && data(verified.address, 'div', { class: 'small quiet-text' }),
    ],
    [
      h('div', { class: 'chips' }, factors(secondFactor), locked && lockChip(locked)),
      secondFactor.totp && codesLeft(secondFactor.backupCodesRemaining),
    ],
    data(member.roles.join(', ')),
    data(member.sessions),
    h(
      'div',
      { class: 'row-actions' },
      h(
        'a',
        {
          href: address('audit', { of: member.username }),
          'aria-label': t('members.history.of', { user: member.username }),
        },
        t('members.history'),
      ),
      locked?.until &&
        button(t('unlock'), () => unlockDialog(member, changed), {
          'aria-label': t('unlock.of', { user: member.username }),
        }),
      !member.federated &&
        button(t('reset'), () => resetDialog(member, changed), {
          'aria-label': t('reset.of', { user: member.username }),
        }),
    ),
  ];
}

function factors({ totp, pending, email }) {
  return [
    totp && chip('good', t('factor-is.totp')),
    pending && chip('quiet', t('factor-is.pending')),
    email && chip('good', t('factor-is.email')),
    !totp && !email && chip('quiet', t('factor-is.none')),
  ];
}

function lockChip({ until }) {
  return until
    ? chip('bad', rich('members.locked.until', { until: timeOfDay(until) }))
    : chip('bad', t('members.locked.good'));
}

function codesLeft(count) {
  const words = rich('members.codes', { count });
  return h('div', { class: `small ${count <= FEW_CODES ? 'warn-text' : 'quiet-text'}` }, words);
}
