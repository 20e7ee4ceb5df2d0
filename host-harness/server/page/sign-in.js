/** Signing in: name and password, then the second factor where the account has one. */
import { logIn } from './api.js';
import { data, fill, h } from './dom.js';
import { factorForm } from './factor.js';
import { Field } from './field.js';
import { busy, explain, holdBack, notice, problemNotice } from './notice.js';
import { begin } from './session.js';
import { rich, t } from './texts.js';

/**
 * A form to sign in.
 *
 * @param {object} asked
 * @param {string} [asked.username] Who is likely to.
 * @param {() => void} asked.done Somebody has.
 */
export function signInForm({ username = '', done }) {
  const place = h('div', { class: 'stack' });
  askPassword(username);
  return place;

  function askPassword(known) {
    const name = new Field(t('sign-in.name'), {
      name: 'username',
      autocomplete: 'username',
      value: known,
      autofocus: known === '',
    });
    const password = new Field(t('sign-in.password'), {
      name: 'password',
      type: 'password',
      autocomplete: 'current-password',
      autofocus: known !== '',
    });
    const trouble = h('div');
    const send = h('button', { class: 'primary wide' }, t('sign-in'));
    const form = h(
      'form',
      { class: 'stack', novalidate: true, on: { submit } },
      !isSecureContext && notice('warn', h('p', {}, t('sign-in.insecure'))),
      name.element,
      password.element,
      trouble,
      send,
    );
    fill(place, form);

    async function submit(event) {
      event.preventDefault();
      fill(trouble);
      const [user, secret] = [name.value, password.input.value];
      if (!name.isFilled() || !password.isFilled()) return;
      try {
        await busy(form, () => enter(user, secret, {}));
      } catch (problem) {
        if (problem.wantsCode) {
          askCode(user, secret, problem.details);
        } else if (problem.id === '403') {
          password.complain(t('sign-in.wrong'));
        } else if (problem.isLocked) {
          password.complain(...explain(problem));
          holdBack(send, problem.retryAfter);
        } else {
          fill(trouble, problemNotice(problem));
          holdBack(send, problem.retryAfter);
        }
      }
    }
  }

  function askCode(user, secret, details) {
    const form = factorForm({
      details,
      label: t('sign-in'),
      act: (factor) => enter(user, secret, factor),
      cancel: () => askPassword(user),
    });
    fill(place, h('p', { class: 'lead' }, rich('sign-in.second', { user: data(user, 'strong') })), form);
    form.querySelector('input').focus();
  }

  async function enter(user, secret, factor) {
    begin(await logIn(user, secret, factor));
    done();
  }
}
