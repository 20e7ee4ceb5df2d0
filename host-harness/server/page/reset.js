/** Removing a member's lost second factor: what will happen, and the caller's code. */
import { Problem, get, post } from './api.js';
import { Dialog } from './dialog.js';
import { data, h } from './dom.js';
import { factorForm } from './factor.js';
import { explain, notice, problemNotice } from './notice.js';
import { showDone } from './reset-done.js';
import { session } from './session.js';
import { rich, t } from './texts.js';
import { askWhetherDone, notDone } from './unknown.js';

/** Opens the question for `member`. `changed` is told once it is closed, where the member may have been changed. */
export function resetDialog(member, changed) {
  const resetting = { member, isTried: false };
  resetting.dialog = new Dialog(() => resetting.isTried && changed());
  look(resetting);
}

/** Asks the server what a reset would do now. */
async function look(resetting) {
  const { member, dialog } = resetting;
  dialog.show(titleOf(member), h('p', { class: 'quiet-text' }, t('loading')));
  try {
    preview(resetting, await get('second-factor.preview', { userId: member._id }));
  } catch (problem) {
    dialog.show(
      titleOf(member),
      problemNotice(problem, () => look(resetting)),
      dialog.closing(),
    );
  }
}

/** Shows what it `would` do, after what is `said` of an attempt before. */
function preview(resetting, would, said = null) {
  const { member, dialog } = resetting;
  if (would.refused) {
    const why = explain(new Problem('refused', { id: would.refused.errorType, said: would.refused.error }));
    dialog.show(titleOf(member), said, notice('warn', h('p', {}, t('reset.impossible'), ' ', why)), dialog.closing());
  } else if (would.removes.length === 0) {
    const nothing = rich('reset.nothing', { user: data(member.username, 'strong') });
    dialog.show(titleOf(member), said, notice('quiet', h('p', {}, nothing)), dialog.closing());
  } else {
    dialog.show(titleOf(member), said, foreseen(member, would), codeForm(resetting, would));
  }
}

function foreseen(member, would) {
  const user = () => data(member.username);
  return [
    addresses(would.member),
    h('h3', {}, t('reset.will')),
    h(
      'ul',
      { class: 'consequences' },
      consequences(would).map((words) => h('li', {}, words)),
    ),
    would.mails.length === 0 && notice('warn', h('p', {}, rich('reset.untold', { user: user() }))),
    member._id === session().userId && notice('warn', h('p', {}, t('reset.self'))),
    notice('quiet', h('p', {}, rich('reset.sure', { user: user() }))),
  ];
}

function codeForm(resetting, would) {
  return factorForm({
    details: session().asks,
    label: t('reset.do'),
    cancel: () => resetting.dialog.close(),
    act: (factor) => reset(resetting, would, factor),
  });
}

async function reset(resetting, would, factor) {
  const { member, dialog } = resetting;
  resetting.isTried = true;
  let answer;
  try {
    answer = await post('users.resetTOTP', { userId: member._id }, factor);
  } catch (problem) {
    if (!problem.isLost) throw problem;
    askWhetherDone(dialog, problem, () => settle(resetting));
    return;
  }
  await showDone(dialog, member, would, answer.request);
}

/** Looks whether there is still something to remove. */
async function settle(resetting) {
  const { member, dialog } = resetting;
  try {
    const now = await get('second-factor.preview', { userId: member._id });
    if (!now.refused && now.removes.length === 0) await showDone(dialog, member, now);
    else preview(resetting, now, now.refused ? null : notDone());
  } catch (problem) {
    askWhetherDone(dialog, problem, () => settle(resetting));
  }
}

const titleOf = (member) => rich('reset.title', { user: data(member.username, 'strong') });

/** Whom it is about: one who was asked for by name may not be the one who called. */
function addresses({ emails, name }) {
  return h(
    'p',
    { class: 'quiet-text' },
    name && [data(name), ' · '],
    emails.length === 0 ? t('reset.no-address') : data(emails.map(({ address }) => address).join(', ')),
  );
}

function consequences(would) {
  const { removes, member, mails } = would;
  const removed = {
    totp: () => t('reset.removes.totp'),
    backupCodes: () => rich('reset.removes.backup', { count: member.secondFactor.backupCodesRemaining }),
    pendingKey: () => t('reset.removes.pending'),
    failures: () => t('reset.removes.failures'),
  };
  return [
    ...removes.map((what) => (removed[what] ? removed[what]() : data(what, 'code'))),
    ending(would),
    mails.length > 0 && [
      rich('reset.mails', { count: mails.length }),
      h(
        'ul',
        {},
        mails.map(({ to, subject }) => h('li', {}, data(to, 'strong'), ' ', data(subject, 'q'))),
      ),
    ],
    t('reset.stays'),
  ].filter(Boolean);
}

/** The sessions and tokens that end. */
function ending({ sessions, tokens }) {
  const words = rich('reset.sessions', { count: sessions });
  return tokens > 0 ? [words, ' ', rich('reset.tokens', { count: tokens })] : words;
}
