/** The administrators' page: who is signed in sees one of its screens, which the address names after `#`. */
import { logOut, onSessionEnd } from './api.js';
import { auditScreen } from './audit.js';
import { Dialog } from './dialog.js';
import { button, data, fill, h } from './dom.js';
import { mailScreen } from './mail.js';
import { membersScreen } from './members.js';
import { notice, say, status } from './notice.js';
import { ownScreen } from './own.js';
import { address, here } from './place.js';
import { end, session } from './session.js';
import { forget } from './shown-once.js';
import { signInForm } from './sign-in.js';
import { LANGUAGES, choose, language, load, rich, t } from './texts.js';

/** Screens by their names, in the order in which they are offered. */
const SCREENS = { members: membersScreen, audit: auditScreen, mail: mailScreen, own: ownScreen };

const header = h('header', { class: 'top' });
const main = h('main', { id: 'content', tabindex: '-1' });

/** What ends the requests of the screen that is left. */
let leaving = new AbortController();

/** Who was signed in last. */
let lastSeen = null;

/** The one question for a new session, while it is open. */
let signingIn = null;

/** Shows what the address names. */
function show() {
  leaving.abort();
  leaving = new AbortController();
  const { name: asked, query } = here();
  const name = Object.hasOwn(SCREENS, asked) ? asked : 'members';
  const who = session();
  lastSeen = who ?? lastSeen;
  showHeader(who, name);
  const title = t(who ? `nav.${name}` : 'sign-in.title');
  document.title = `${title} · ${t('title')}`;
  main.className = who ? 'screen' : 'gate';
  const heading = h('h1', { tabindex: '-1' }, title);
  if (who) {
    fill(main, heading, SCREENS[name]({ query, signal: leaving.signal }));
  } else {
    fill(
      main,
      h(
        'section',
        { class: 'card' },
        h('p', { class: 'at' }, data(location.host)),
        heading,
        note(),
        signInForm({ done: show }),
      ),
    );
  }
  const wanted = main.querySelector('[autofocus]') ?? heading;
  wanted.focus();
}

/** What the sign-in screen says of what was before. */
let past = null;

function note() {
  const words = past;
  past = null;
  return words && notice(words.kind, h('p', {}, words.text));
}

function showHeader(who, current) {
  const languages = h(
    'select',
    { 'aria-label': t('language'), on: { change: (event) => changeLanguage(event.target.value) } },
    Object.entries(LANGUAGES).map(([code, own]) =>
      h('option', { value: code, lang: code, translate: 'no', selected: code === language }, own),
    ),
  );
  const link = (name) =>
    h('a', { href: address(name), 'aria-current': name === current ? 'page' : false }, t(`nav.${name}`));
  fill(
    header,
    h(
      'div',
      { class: 'bar' },
      h(
        'span',
        { class: 'brand' },
        h('img', { src: 'icon.svg', alt: '', width: 24, height: 24 }),
        h('span', {}, t('title')),
      ),
      who && h('nav', { 'aria-label': t('nav') }, Object.keys(SCREENS).map(link)),
      h(
        'div',
        { class: 'who' },
        languages,
        who && data(who.username, 'span', { class: 'name' }),
        who && button(t('sign-out'), signOut),
      ),
    ),
  );
}

async function changeLanguage(code) {
  // Without a network the page stays as it is.
  await choose(code).catch(() => {});
  skip.replaceChildren(t('skip'));
  show();
  header.querySelector('select').focus();
}

async function signOut({ target }) {
  target.disabled = true;
  leaving.abort();
  fill(main, h('p', { class: 'quiet-text' }, t('loading')));
  past = { kind: 'good', text: t('sign-out.done') };
  try {
    await logOut();
  } catch (problem) {
    // Whoever is no longer signed in is signed out.
    if (problem.kind !== 'session') past = { kind: 'warn', text: t('sign-out.here') };
  }
  end();
  forget();
  // Whoever signs in next begins at the beginning.
  history.replaceState(null, '', address('members'));
  say(past.text);
  show();
}

/** Asks for a new session over whatever is open, which goes on with it; another account begins anew. */
function askToSignIn() {
  signingIn ??= new Promise((resolve) => {
    const before = lastSeen;
    const dialog = new Dialog(() => {
      signingIn = null;
      const isBack = session() !== null && session().userId === before?.userId;
      resolve(isBack);
      if (isBack) {
        say(t('session.back'));
      } else {
        for (const open of document.querySelectorAll('dialog')) open.close();
        forget();
        show();
      }
    });
    dialog.show(
      t('session.ended'),
      h('p', { class: 'lead' }, t('session.lead')),
      signInForm({ username: before?.username, done: () => dialog.close() }),
    );
    dialog.element.querySelector('[autofocus]').focus();
  });
  return signingIn;
}

const skip = h('a', {
  href: '#content',
  class: 'skip',
  on: {
    click: (event) => {
      event.preventDefault();
      main.focus();
    },
  },
});

onSessionEnd(askToSignIn);
await load();
fill(skip, t('skip'));
fill(document.body, skip, header, main, status);
window.addEventListener('hashchange', show);
show();
