/** Elements, made of names, attributes and texts: nothing is ever read as markup. */

/**
 * An element.
 *
 * @param {string} name Its tag.
 * @param {object} [attributes] `on` holds listeners by event; what is `false`, `null` or `undefined` is left out,
 *   `true` is an attribute without a value.
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value === true ? '' : value);
    }
  }
  fill(element, ...children);
  return element;
}

/** Replaces what is in `element`. */
export function fill(element, ...children) {
  const wanted = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.replaceChildren(...wanted.map((child) => (child instanceof Node ? child : String(child))));
}

/** What comes from the server or a person, such as a name: it is the same in every language. */
export const data = (text, name = 'span', attributes = {}) => h(name, { translate: 'no', ...attributes }, text);

/** A button that does something; a form's own, which sends it, is none. */
export const button = (label, click, attributes = {}) =>
  h('button', { type: 'button', ...attributes, on: { click } }, label);

/** A word for the state of something: `quiet`, `good`, `warn` or `bad`. */
export const chip = (kind, ...children) => h('span', { class: `chip ${kind}` }, ...children);

let last = 0;

/** An id that no other element has. */
export const newId = () => `id${(last += 1)}`;
