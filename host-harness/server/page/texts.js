/** Everything that the page says, in the language of whoever reads it: `texts/*.json`. */
import { data, h } from './dom.js';

/** Languages by their codes, each by its own name. */
export const LANGUAGES = { en: 'English', de: 'Deutsch' };

const CHOSEN = 'language';

let texts = {};
let plural;
let moment;
let clock;
let number;

/** The code of the language in use. */
export let language = 'en';

/** Reads the texts of the language that was chosen here, or else of the first that the browser asks for. */
export async function load() {
  const asked = [localStorage.getItem(CHOSEN), ...navigator.languages.map((tag) => tag.split('-')[0].toLowerCase())];
  await use(asked.find((code) => Object.hasOwn(LANGUAGES, code)) ?? 'en');
}

/** Uses another language from now on. */
export async function choose(code) {
  await use(code);
  localStorage.setItem(CHOSEN, code);
}

async function use(code) {
  const answer = await fetch(`texts/${code}.json`, { credentials: 'omit' });
  texts = await answer.json();
  language = code;
  document.documentElement.lang = code;
  plural = new Intl.PluralRules(code);
  // English is written in more than one way, as is German.
  const region = navigator.languages.find((tag) => tag.split('-')[0].toLowerCase() === code) ?? code;
  moment = new Intl.DateTimeFormat(region, { dateStyle: 'medium', timeStyle: 'medium' });
  clock = new Intl.DateTimeFormat(region, { timeStyle: 'medium' });
  number = new Intl.NumberFormat(region);
}

/** Whether there is a text of this key. */
export const has = (key) => Object.hasOwn(texts, key);

/** The text of `key` with its `{places}` filled. A `count` chooses between `key.one` and `key.other`. */
export function t(key, places = {}) {
  return pieces(key, places).join('');
}

/** As {@link t}, in nodes: places may be elements, and what is none is data. */
export function rich(key, places = {}) {
  const nodes = Object.entries(places).map(([name, value]) => [
    name,
    value instanceof Node ? value : data(shown(value)),
  ]);
  return pieces(key, places, Object.fromEntries(nodes));
}

function pieces(key, places, filled = places) {
  const form = 'count' in places && !has(key) ? `${key}.${plural.select(places.count)}` : key;
  if (!has(form)) throw new Error(`there is no text ${form}`);
  return texts[form]
    .split(/(\{\w+\})/)
    .filter((piece) => piece !== '')
    .map((piece) => {
      const name = /^\{(\w+)\}$/.exec(piece)?.[1];
      return name === undefined ? piece : shown(filled[name]);
    });
}

const shown = (value) => (typeof value === 'number' ? number.format(value) : value);

/** A word of the server's, such as the name of an action, in this language where there is a text for it. */
export const word = (group, name) => (has(`${group}.${name}`) ? t(`${group}.${name}`) : data(name, 'code'));

/** A moment that the server tells as ISO 8601, in the reader's time zone. */
export const time = (iso) => written(iso, moment);

/** One that is less than a day away: its time of day alone. */
export const timeOfDay = (iso) => written(iso, clock);

const written = (iso, form) => h('time', { datetime: iso, title: iso }, form.format(new Date(iso)));
