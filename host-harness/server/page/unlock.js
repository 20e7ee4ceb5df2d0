/** Lets a member try again at once: the caller's code, and what has happened. */
import { get, post } from './api.js';
import { Dialog } from './dialog.js';
import { data, h } from './dom.js';
import { factorForm } from './factor.js';
import { notice } from './notice.js';
import { session } from './session.js';
import { rich, t } from './texts.js';
import { askWhetherDone, notDone } from './unknown.js';

/** Opens the question for `member`. `changed` is told once it is closed, where the member may have been changed. */
export function unlockDialog(member, changed) {
  const unlocking = { member, isTried: false };
  unlocking.dialog = new Dialog(() => unlocking.isTried && changed());
  ask(unlocking);
}

function ask(unlocking, said = null) {
  const { member, dialog } = unlocking;
  dialog.show(
    rich('unlock.title', { user: data(member.username, 'strong') }),
    said,
    h('p', {}, t('unlock.lead')),
    notice('quiet', h('p', {}, rich('reset.sure', { user: data(member.username) }))),
    factorForm({
      details: session().asks,
      label: t('unlock.do'),
      cancel: () => dialog.close(),
      act: (factor) => unlock(unlocking, factor),
    }),
  );
}

async function unlock(unlocking, factor) {
  const { member, dialog } = unlocking;
  unlocking.isTried = true;
  try {
    await post('second-factor.unlock', { userId: member._id }, factor);
  } catch (problem) {
    if (!problem.isLost) throw problem;
    askWhetherDone(dialog, problem, () => settle(unlocking));
    return;
  }
  showDone(unlocking);
}

/** Looks whether the member is still locked. */
async function settle(unlocking) {
  const { member, dialog } = unlocking;
  try {
    const now = (await get('second-factor.preview', { userId: member._id })).member;
    if (now.locked) ask(unlocking, notDone());
    else showDone(unlocking);
  } catch (problem) {
    askWhetherDone(dialog, problem, () => settle(unlocking));
  }
}

function showDone({ member, dialog }) {
  dialog.show(
    t('unlock.done'),
    notice('good', h('p', {}, rich('unlock.done.lead', { user: data(member.username, 'strong') }))),
    dialog.closing({ class: 'primary' }),
  );
}
