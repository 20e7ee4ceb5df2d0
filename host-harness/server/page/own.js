/** One's own second factor: set up by a QR code, backup codes, given up. */
import { get, post } from './api.js';
import { Dialog } from './dialog.js';
import { chip, data, fill, h } from './dom.js';
import { FEW_CODES, factorForm } from './factor.js';
import { notice, problemNotice, say } from './notice.js';
import { changed } from './session.js';
import { rich, t } from './texts.js';

/** Characters of a key that are read at a time. */
const GROUP = /.{1,4}/g;

/** What is shown once and was not yet put away: the key of an enrolment, or backup codes. */
let shown = null;

/** Forgets what was shown. */
export function forgetOwn() {
  keep(null);
}

function keep(what) {
  shown = what;
  if (what?.codes) window.addEventListener('beforeunload', askBeforeLeaving);
  else window.removeEventListener('beforeunload', askBeforeLeaving);
}

const askBeforeLeaving = (event) => event.preventDefault();

/** The screen: how it stands, and what can be done. */
export function ownScreen({ signal }) {
  const place = h('div', { class: 'card stack' });
  show();
  return place;

  function show() {
    if (shown?.codes) showCodes(shown.codes);
    else if (shown) showKey(shown);
    else look();
  }

  async function look() {
    fill(place, h('p', { class: 'quiet-text' }, t('loading')));
    try {
      const me = await get('me', {}, signal);
      changed(me);
      const isEnrolled = Boolean(me.services.totp);
      const remaining = isEnrolled ? (await get('users.totpCodesRemaining', {}, signal)).remaining : undefined;
      fill(place, isEnrolled ? enrolled(remaining) : notEnrolled());
    } catch (problem) {
      if (!signal.aborted) fill(place, problemNotice(problem, look));
    }
  }

  function enrolled(remaining) {
    return [
      h('p', { class: 'state' }, chip('good', t('own.on')), t('own.on.lead')),
      remaining <= FEW_CODES
        ? notice('warn', h('p', {}, rich('own.few', { count: remaining })))
        : h('p', { class: 'quiet-text' }, rich('own.codes', { count: remaining })),
      h('div', { class: 'row-actions' }, button(t('own.renew'), renew), button(t('own.off'), giveUp)),
    ];
  }

  function notEnrolled() {
    return [
      h('p', { class: 'state' }, chip('quiet', t('own.none')), t('own.none.lead')),
      h(
        'ol',
        { class: 'steps' },
        h('li', {}, t('own.step.app')),
        h('li', {}, t('own.step.scan')),
        h('li', {}, t('own.step.code')),
      ),
      h('div', { class: 'row-actions' }, button(t('own.begin'), begin, 'primary')),
    ];
  }

  function renew() {
    ask(t('own.renew'), t('own.renew.lead'), t('own.renew.do'), async (code) => {
      keep({ codes: (await post('users.regenerateTotpCodes', { code })).body.codes });
    });
  }

  function giveUp() {
    ask(t('own.off'), t('own.off.lead'), t('own.off.do'), async (code) => {
      await post('users.disableTotp', { code });
      say(t('own.off.done'));
    });
  }

  /** Asks for a code of one's own app, and does something with it. */
  function ask(title, lead, label, act) {
    const dialog = new Dialog(show);
    const form = factorForm({
      details: { method: 'totp' },
      label,
      cancel: () => dialog.close(),
      act: async ({ code }) => {
        await act(code);
        dialog.close();
      },
    });
    dialog.show(title, h('p', {}, lead), form);
  }

  /** Asks for a key; the server wants to know first that it is the holder who asks. */
  async function begin() {
    const dialog = new Dialog(show);
    dialog.show(t('own.begin'), h('p', { class: 'quiet-text' }, t('loading')));
    let details;
    try {
      await enable({});
      return;
    } catch (problem) {
      if (!problem.wantsCode) {
        dialog.show(t('own.begin'), problemNotice(problem));
        return;
      }
      details = problem.details;
    }
    const form = factorForm({ details, label: t('next'), cancel: () => dialog.close(), act: enable });
    dialog.show(t('own.begin'), h('p', {}, t('own.begin.lead')), form);

    async function enable(factor) {
      const { secret, url } = (await post('users.enableTotp', {}, factor)).body;
      // The key can be typed where there is no picture.
      const picture = await post('second-factor.qr', { url }).catch(() => null);
      keep({ secret, svg: picture?.body.svg });
      dialog.close();
    }
  }

  function showKey({ secret, svg }) {
    fill(
      place,
      h('p', {}, t('own.scan')),
      h(
        'div',
        { class: 'enrol' },
        svg &&
          h('img', {
            class: 'qr',
            alt: t('own.qr'),
            width: 220,
            height: 220,
            src: `data:image/svg+xml,${encodeURIComponent(svg)}`,
          }),
        h(
          'div',
          { class: 'stack' },
          h(
            'div',
            {},
            h('p', { class: 'small quiet-text' }, t('own.key')),
            data(secret.match(GROUP).join(' '), 'code', { class: 'key' }),
          ),
          factorForm({
            details: { method: 'totp', isOfNewKey: true },
            label: t('own.confirm'),
            cancel: () => {
              keep(null);
              show();
            },
            act: async ({ code }) => {
              keep({ codes: (await post('users.validateTotp', { code })).body.codes });
              say(t('own.confirmed'));
              show();
            },
          }),
        ),
      ),
    );
  }

  /** Shows backup codes: the server keeps only what they hash to. */
  function showCodes(codes) {
    const done = h(
      'button',
      { type: 'button', class: 'primary', disabled: true, on: { click: finish } },
      t('own.kept.do'),
    );
    const kept = h('input', { type: 'checkbox', id: 'kept', on: { change: () => (done.disabled = !kept.checked) } });
    const copied = h('span', { class: 'small quiet-text', role: 'status' });
    const heading = h('h2', { tabindex: '-1' }, t('own.codes.title'));
    const copy = async () => {
      await navigator.clipboard.writeText(codes.join('\n'));
      fill(copied, t('own.copied'));
    };
    fill(
      place,
      heading,
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
    );
    heading.focus();
  }

  function finish() {
    keep(null);
    look();
  }
}

const button = (label, click, kind = false) => h('button', { type: 'button', class: kind, on: { click } }, label);
