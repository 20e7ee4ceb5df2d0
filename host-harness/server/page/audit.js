/** What was decided, by whom, about whom; and whether the records prove themselves. */
import { get } from './api.js';
import { chip, data, fill, h } from './dom.js';
import { Field, choice } from './field.js';
import { pagedList } from './list.js';
import { notice } from './notice.js';
import { go } from './place.js';
import { rich, t, time, word } from './texts.js';

/** Actions to look for, of all that the trail knows, those that come to an administrator's mind first. */
const ACTIONS = [
  'reset-totp',
  'unlock',
  'log-in',
  'guess',
  'begin-enrolment',
  'confirm-totp',
  'disable-totp',
  'replace-backup-codes',
  'enrol-totp',
  'add-user',
  'set-password',
  'activate',
  'deactivate',
  'give-role',
  'take-role',
  'create-token',
  'revoke-tokens',
  'allow-permission',
  'deny-permission',
  'change-setting',
  'retry-mail',
  'remove-mail',
  'close-sockets',
  'log-out',
  'look',
  'prune',
];

/** How far back to look, in hours, by name. */
const PERIODS = { hour: 1, day: 24, week: 7 * 24, month: 30 * 24 };

/** Who is no account: whoever uses the command line, and the host itself. */
const NO_ACCOUNTS = ['operator', 'host'];

/** How good or bad an outcome is. */
const KINDS = {
  reset: 'good',
  done: 'good',
  'nothing-enrolled': 'quiet',
  refused: 'warn',
  replayed: 'warn',
  locked: 'bad',
  limited: 'warn',
  failed: 'bad',
};

/** How the proof of the log ended. */
const PROOFS = { whole: 'quiet', broken: 'bad', 'not-verified': 'warn' };

/** The screen: filters, what proves the trail, and the records, the newest first. */
export function auditScreen({ query, signal }) {
  const of = new Field(t('audit.of'), { name: 'of', value: query.get('of') ?? '', autocomplete: 'off' });
  const by = new Field(t('audit.by'), { name: 'by', value: query.get('by') ?? '', autocomplete: 'off' });
  const actions = ACTIONS.map((action) => [action, t(`action.${action}`)]);
  const action = choice(t('audit.action'), [['', t('audit.any')], ...actions], query.get('action') ?? '', {
    name: 'action',
  });
  const periods = Object.keys(PERIODS).map((period) => [period, t(`audit.since.${period}`)]);
  const since = choice(t('audit.since'), [['', t('audit.since.ever')], ...periods], query.get('since') ?? '', {
    name: 'since',
  });
  const form = h(
    'form',
    { role: 'search', class: 'filters', on: { submit } },
    of.element,
    by.element,
    action.element,
    since.element,
    h('button', {}, t('audit.do')),
  );
  const proof = h('div');
  return [form, proof, records()];

  function submit(event) {
    event.preventDefault();
    go('audit', { of: of.value, by: by.value, action: action.select.value, since: since.select.value });
  }

  function records() {
    const hours = PERIODS[query.get('since')];
    const filters = {
      of: query.get('of') ?? undefined,
      by: query.get('by') ?? undefined,
      action: query.get('action') ?? undefined,
      since: hours && new Date(Date.now() - hours * 3_600_000).toISOString(),
    };
    return pagedList({
      label: t('nav.audit'),
      columns: [t('audit.time'), t('audit.what'), t('audit.who'), t('audit.whom'), t('audit.outcome'), t('audit.more')],
      load: async (before, count) => {
        const page = await get('second-factor.audit', { ...filters, count, before }, signal);
        if (page.proof) fill(proof, proofNotice(page.proof));
        return { items: page.records, next: page.next };
      },
      cells,
      empty: [t('audit.none')],
      signal,
    }).element;
  }
}

/** Whether nobody has changed the log. */
function proofNotice({ state, size, faults }) {
  const words = rich(`audit.proof.${state}`, { count: size, faults });
  return notice(PROOFS[state] ?? 'quiet', h('p', {}, words));
}

function cells(record) {
  return [
    time(record.at),
    word('action', record.action),
    who(record.by),
    record.of && who(record.of),
    chip(KINDS[record.outcome] ?? 'quiet', word('outcome', record.outcome)),
    more(record),
  ];
}

function who({ _id, username }) {
  if (NO_ACCOUNTS.includes(_id)) return t(`audit.by.${_id}`);
  return username === null ? data(_id, 'code') : data(username, 'strong');
}

/** What is asked for now and then. */
function more(record) {
  const facts = [
    ['reason', record.reason && word('reason', record.reason)],
    ['proof', record.proof && word('proof', record.proof)],
    ['told', record.told !== null && rich('audit.told.count', { count: record.told })],
    ['address', record.address && data(record.address, 'code')],
    ['program', record.userAgent && data(record.userAgent)],
    ['calls', record.calls > 1 && data(record.calls)],
    ['number', record.number !== null && data(record.number)],
    ['request', data(record.request, 'code')],
  ];
  const short = [record.reason && word('reason', record.reason), record.address && data(record.address)].filter(
    Boolean,
  );
  return h(
    'details',
    {},
    h(
      'summary',
      { class: 'small' },
      short.length > 0 ? short.flatMap((part, at) => (at > 0 ? [' · ', part] : [part])) : t('audit.details'),
    ),
    h(
      'dl',
      { class: 'facts' },
      facts
        .filter(([, value]) => value)
        .map(([name, value]) => h('div', {}, h('dt', {}, t(`audit.${name}`)), h('dd', {}, value))),
    ),
  );
}
