/** One's own second factor: set up, new backup codes, given up. */
import { get, post } from './api.js';
import { backupCodes } from './backup-codes.js';
import { Dialog } from './dialog.js';
import { button, chip, fill, h } from './dom.js';
import { askForKey, keyToScan } from './enrolment.js';
import { FEW_CODES, factorForm } from './factor.js';
import { notice, problemNotice, say } from './notice.js';
import { changed } from './session.js';
import { forget, keepAnswer, proofIsLost, shownOnce } from './shown-once.js';
import { rich, t } from './texts.js';
import { notDone } from './unknown.js';

/** What was asked for without an answer: nothing that brings codes, or what replaces them. */
const Lost = { PLAIN: 'plain', CODES: 'codes' };

/** The screen that is there now: an answer may come after the one that asked was left. */
let current = null;

/** The screen: how it stands, and what can be done. */
export function ownScreen({ signal }) {
  current = new OwnScreen(signal);
  current.show();
  return current.element;
}

class OwnScreen {
  constructor(signal) {
    this.signal = signal;
    this.element = h('div', { class: 'card stack' });
  }

  /** Shows what is shown once, or else how it stands. */
  show() {
    const { codes, secret, isLost } = shownOnce() ?? {};
    if (codes) this.showCodes(codes);
    else if (secret && !isLost) this.showKey();
    else this.look(isLost ? Lost.CODES : null);
  }

  /** Asks how it stands. `lost`: what was asked for before that, without an answer. */
  async look(lost = null) {
    fill(this.element, h('p', { class: 'quiet-text' }, t('loading')));
    try {
      const me = await get('me', {}, this.signal);
      changed(me);
      const isEnrolled = Boolean(me.services.totp);
      const isKeyShown = Boolean(shownOnce()?.secret);
      if (isKeyShown && !isEnrolled) {
        proofIsLost(false);
        this.showKey(notDone());
        return;
      }
      if (isKeyShown) forget();
      const remaining = isEnrolled && (await get('users.totpCodesRemaining', {}, this.signal)).remaining;
      fill(
        this.element,
        lost && lostNotice(isEnrolled && lost === Lost.CODES),
        isEnrolled ? this.enrolled(remaining) : this.notEnrolled(),
      );
    } catch (problem) {
      if (!this.signal.aborted)
        fill(
          this.element,
          problemNotice(problem, () => this.look(lost)),
        );
    }
  }

  enrolled(remaining) {
    return [
      h('p', { class: 'state' }, chip('good', t('own.on')), t('own.on.lead')),
      remaining <= FEW_CODES
        ? notice('warn', h('p', {}, rich('own.few', { count: remaining })))
        : h('p', { class: 'quiet-text' }, rich('own.codes', { count: remaining })),
      h('div', { class: 'row-actions' }, button(t('own.renew'), renew), button(t('own.off'), giveUp)),
    ];
  }

  notEnrolled() {
    const steps = ['own.step.app', 'own.step.scan', 'own.step.code'];
    return [
      h('p', { class: 'state' }, chip('quiet', t('own.none')), t('own.none.lead')),
      h(
        'ol',
        { class: 'steps' },
        steps.map((step) => h('li', {}, t(step))),
      ),
      h(
        'div',
        { class: 'row-actions' },
        button(t('own.begin'), () => askForKey(() => current.show()), { class: 'primary' }),
      ),
    ];
  }

  showKey(said = null) {
    const cancel = () => {
      forget();
      this.show();
    };
    fill(this.element, said, keyToScan(shownOnce(), { confirm, cancel }));
  }

  showCodes(codes) {
    const finish = () => {
      forget();
      this.look();
    };
    const [heading, ...rest] = backupCodes(codes, finish);
    fill(this.element, heading, rest);
    heading.focus();
  }
}

/** Proves the key that is shown. */
async function confirm(code) {
  try {
    await keepAnswer(() => codesOf('users.validateTotp', code));
  } catch (problem) {
    if (!problem.isLost) throw problem;
    proofIsLost(true);
    await current.look(Lost.CODES);
    return;
  }
  say(t('own.confirmed'));
  current.show();
}

function renew() {
  ask(t('own.renew'), t('own.renew.lead'), t('own.renew.do'), Lost.CODES, (code) =>
    keepAnswer(() => codesOf('users.regenerateTotpCodes', code)),
  );
}

function giveUp() {
  ask(t('own.off'), t('own.off.lead'), t('own.off.do'), Lost.PLAIN, async (code) => {
    await post('users.disableTotp', { code });
    say(t('own.off.done'));
  });
}

/** Asks for a code of one's own app, and does something with it; where no answer comes to that, `lost` is what it was. */
function ask(title, lead, label, lost, act) {
  let isLost = false;
  const dialog = new Dialog(() => (isLost ? current.look(lost) : current.show()));
  const form = factorForm({
    details: { method: 'totp' },
    label,
    cancel: () => dialog.close(),
    act: async ({ code }) => {
      try {
        await act(code);
      } catch (problem) {
        if (!problem.isLost) throw problem;
        isLost = true;
      }
      dialog.close();
    },
  });
  dialog.show(title, h('p', {}, lead), form);
}

async function codesOf(route, code) {
  const { codes } = (await post(route, { code })).body;
  return { codes };
}

function lostNotice(areCodesLost) {
  return notice('warn', h('p', {}, t('own.lost')), areCodesLost && h('p', {}, t('own.lost.codes')));
}
