/** One's own authenticator app is set up: a key is asked for, shown, and proved by a code. */
import { post } from './api.js';
import { Dialog } from './dialog.js';
import { data, h } from './dom.js';
import { factorForm } from './factor.js';
import { problemNotice } from './notice.js';
import { keepAnswer } from './shown-once.js';
import { t } from './texts.js';

/** Characters of a key that are read at a time. */
const GROUP = /.{1,4}/g;

/** Asks for a key; the server wants to know first that it is the holder who asks. `left`: the dialog was closed. */
export async function askForKey(left) {
  const dialog = new Dialog(left);
  const enable = async (factor) => {
    await keepAnswer(() => newKey(factor));
    dialog.close();
  };
  dialog.show(t('own.begin'), h('p', { class: 'quiet-text', 'aria-busy': 'true' }, t('loading')));
  try {
    await enable({});
  } catch (problem) {
    if (problem.wantsCode) {
      const { details } = problem;
      const form = factorForm({ details, label: t('next'), cancel: () => dialog.close(), act: enable });
      dialog.show(t('own.begin'), h('p', {}, t('own.begin.lead')), form);
    } else {
      dialog.show(t('own.begin'), problemNotice(problem), dialog.closing());
    }
  }
}

async function newKey(factor) {
  const { secret, url } = (await post('users.enableTotp', {}, factor)).body;
  // The key can be typed where there is no picture.
  const picture = await post('second-factor.qr', { url }).catch(() => null);
  return { secret, svg: picture?.body.svg };
}

/** The key, and the question for its first code. `confirm` takes that; `cancel` gives the key up. */
export function keyToScan({ secret, svg }, { confirm, cancel }) {
  const picture =
    svg &&
    h('img', {
      class: 'qr',
      alt: t('own.qr'),
      width: 220,
      height: 220,
      src: `data:image/svg+xml,${encodeURIComponent(svg)}`,
    });
  const typed = h(
    'div',
    {},
    h('p', { class: 'small quiet-text' }, t('own.key')),
    data(secret.match(GROUP).join(' '), 'code', { class: 'key' }),
  );
  const form = factorForm({
    details: { method: 'totp', isOfNewKey: true },
    label: t('own.confirm'),
    cancel,
    act: ({ code }) => confirm(code),
  });
  return [h('p', {}, t('own.scan')), h('div', { class: 'enrol' }, picture, h('div', { class: 'stack' }, typed, form))];
}
