/** Asks for the caller's second factor: an app's code, a backup code, a code by e-mail, or the password. */
import { sha256 } from './api.js';
import { button, fill, h } from './dom.js';
import { Field } from './field.js';
import { busy, explain, holdBack, problemNotice } from './notice.js';
import { rich, t, time } from './texts.js';

/** Backup codes at which somebody should think of new ones. */
export const FEW_CODES = 3;

/** What may be a code: the server looks closer, and a header holds ASCII alone. */
const CODE = /^[ -~]+$/;

/**
 * A form that asks for a code and does something with it.
 *
 * @param {object} asked
 * @param {object} [asked.details] As the server asks for the factor; none where it has not yet said which it wants:
 *   then the first try is without. `isOfNewKey`: there are no backup codes yet.
 * @param {string} asked.label What the button says that sends it.
 * @param {(factor: {code?: string, method?: string}) => Promise<void>} asked.act Does it, or throws the server's
 *   `Problem`. A problem that is not about the code is shown, and can be tried again.
 * @param {() => void} [asked.cancel] Given up: a second button.
 */
export function factorForm({ details, label, act, cancel }) {
  const send = h('button', { class: 'primary' }, label);
  const place = h('div');
  const trouble = h('div');
  const form = h(
    'form',
    { class: 'stack', novalidate: true, on: { submit } },
    place,
    trouble,
    h('div', { class: 'actions' }, cancel && button(t('cancel'), cancel), send),
  );
  let question = null;
  show(details);
  return form;

  /** Shows the field for what the server asks for; keeps it where that is the same. */
  function show(asked) {
    if (!asked || (question && question.method === asked.method)) {
      question?.tell(asked ?? {});
      return;
    }
    question = new Question(asked, sendMail);
    fill(place, question.elements);
  }

  async function submit(event) {
    event.preventDefault();
    fill(trouble);
    if (question && !question.isReady()) return;
    await attempt(async () => (question ? question.factor() : {}));
  }

  /** Asks the server to send a code in place of the app's. */
  async function sendMail() {
    fill(trouble);
    await attempt(async () => ({ method: 'email' }));
  }

  async function attempt(factor) {
    try {
      await busy(form, async () => act(await factor()));
    } catch (problem) {
      refused(problem);
    }
  }

  function refused(problem) {
    if (problem.wantsCode) {
      show(problem.details);
      question.field.input.focus();
      return;
    }
    if (question && problem.isWrongCode) {
      question.field.complain(t(`wrong.${question.method}`));
      return;
    }
    if (question && problem.isLocked) {
      question.field.complain(...explain(problem));
      holdBack(send, problem.retryAfter);
      return;
    }
    if (question && problem.kind === 'session') question.field.input.value = '';
    fill(trouble, problemNotice(problem));
    holdBack(send, problem.retryAfter);
    if (!send.disabled) (question?.field.input ?? send).focus();
  }
}

/** One way to ask. */
class Question {
  constructor(details, sendMail) {
    this.method = details.method;
    const isPassword = this.method === 'password';
    this.field = new Field(t(`factor.${this.method}`), {
      type: isPassword ? 'password' : 'text',
      name: isPassword ? 'password' : 'code',
      autocomplete: isPassword ? 'current-password' : 'one-time-code',
      inputmode: isPassword ? false : 'numeric',
      class: isPassword ? false : 'code',
    });
    const other = (text, click) => button(text, click, { class: 'link' });
    const backup =
      this.method === 'totp' &&
      !details.isOfNewKey &&
      other(t('factor.totp.backup'), () => {
        this.takeBackupCode();
        backup.remove();
      });
    const mail = this.method === 'totp' && details.availableMethods?.includes('email');
    this.elements = [
      this.field.element,
      h('p', { class: 'others' }, backup, mail && other(t('factor.totp.mail'), sendMail)),
    ];
    this.tell(details);
  }

  /** Says where the code is to be found. */
  tell({ emailOrUsername, codeExpires, codeGenerated }) {
    const hint = () => {
      if (this.method !== 'email') return t(`factor.${this.method}.hint`);
      if (codeExpires) return rich('factor.email.earlier', { until: time(codeExpires) });
      if (codeGenerated === false) return t('factor.email.unsent');
      return emailOrUsername ? rich('factor.email.sent', { to: emailOrUsername }) : t('factor.email.hint');
    };
    fill(this.field.hint, hint());
  }

  /** The keyboard of a phone gets letters. */
  takeBackupCode() {
    fill(this.field.label, t('factor.backup'));
    fill(this.field.hint, t('factor.backup.hint'));
    this.field.input.setAttribute('inputmode', 'text');
    this.field.input.focus();
  }

  /** Whether what was entered can be sent; says why not. */
  isReady() {
    if (!this.field.isFilled()) return false;
    const isPassword = this.method === 'password';
    if (isPassword ? globalThis.crypto?.subtle : CODE.test(this.field.value)) return true;
    this.field.complain(t(isPassword ? 'sign-in.insecure' : 'wrong.form'));
    return false;
  }

  async factor() {
    if (this.method !== 'password') return { code: this.field.value, method: this.method };
    return { code: await sha256(this.field.input.value) };
  }
}
