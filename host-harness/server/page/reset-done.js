/** What a reset has done, as the member and the audit trail show it. */
import { get } from './api.js';
import { data, h } from './dom.js';
import { notice, problemNotice, say } from './notice.js';
import { address } from './place.js';
import { rich, t, time } from './texts.js';

/** Records of a member among which the one of this reset is looked for. */
const RECENT = 20;

/**
 * Looks, and shows it in `dialog`.
 *
 * @param {object} would What the reset was to do, as the preview told it.
 * @param {string} [request] The request that was answered; none where its answer was lost.
 */
export async function showDone(dialog, member, would, request) {
  const asked = rich('reset.of', { user: data(member.username, 'strong') });
  dialog.show(asked, h('p', { class: 'quiet-text' }, t('loading')));
  let facts;
  try {
    facts = await factsOf(member, would, request);
  } catch (problem) {
    const said = t('reset.done.lead');
    facts = { title: asked, said, body: [notice('good', h('p', {}, said)), problemNotice(problem)] };
  }
  say(facts.said);
  dialog.show(facts.title, facts.body, links(dialog, member), dialog.closing({ class: 'primary' }));
}

/** What is so: a title and a body, and what is said of it. */
async function factsOf(member, would, request) {
  const user = data(member.username, 'strong');
  const [{ records }, { member: now }] = await Promise.all([
    get('second-factor.audit', { of: member._id, action: 'reset-totp', count: RECENT }),
    get('second-factor.preview', { userId: member._id }),
  ]);
  const record = records.find((record) => record.request === request);
  if (record?.outcome === 'nothing-enrolled') {
    const said = t('reset.nothing', { user: member.username });
    return { title: rich('reset.of', { user }), said, body: notice('quiet', h('p', {}, said)) };
  }
  const facts = [
    !now.secondFactor.totp && t('reset.done.removed'),
    request !== undefined && ended(would),
    record && (record.told ? rich('reset.done.told', { count: record.told }) : t('reset.done.untold')),
    record && rich('reset.done.recorded', { at: time(record.at), request: data(record.request, 'code') }),
  ];
  const items = facts.filter(Boolean).map((words) => h('li', {}, words));
  return {
    title: rich('reset.done', { user }),
    said: t('reset.done.said', { user: member.username }),
    body: [notice('good', h('ul', {}, items)), h('p', {}, rich('reset.next', { user: data(member.username) }))],
  };
}

/** The sessions and tokens that have ended. */
function ended({ sessions, tokens }) {
  const words = rich('reset.done.sessions', { count: sessions });
  return tokens > 0 ? [words, ' ', rich('reset.done.tokens', { count: tokens })] : words;
}

function links(dialog, member) {
  const link = (to, text) => h('a', { href: to, on: { click: () => dialog.close() } }, text);
  return h(
    'p',
    { class: 'others' },
    link(address('audit', { of: member.username }), t('reset.see.audit')),
    link(address('mail'), t('reset.see.mail')),
  );
}
