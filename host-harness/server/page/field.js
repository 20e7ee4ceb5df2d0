/** Fields of forms: each with its label, what it is for, and what is wrong with it. */
import { fill, h, newId } from './dom.js';
import { t } from './texts.js';

/** A labelled field. `hint` is said with it; attributes are the input's. */
export class Field {
  constructor(label, attributes = {}, hint = null) {
    const id = newId();
    this.hint = h('p', { id: `${id}-hint`, class: 'hint' }, hint);
    this.wrong = h('p', { id: `${id}-wrong`, class: 'wrong', role: 'alert' });
    this.label = h('label', { for: id }, label);
    this.input = h('input', {
      id,
      autocapitalize: 'none',
      spellcheck: 'false',
      'aria-describedby': `${id}-hint ${id}-wrong`,
      ...attributes,
      on: { input: () => this.complain() },
    });
    this.element = h('div', { class: 'field' }, this.label, this.input, this.hint, this.wrong);
  }

  get value() {
    return this.input.value.trim();
  }

  /** Says what is wrong with what was entered, and goes there; nothing without words. */
  complain(...words) {
    if (words.length === 0) {
      this.input.removeAttribute('aria-invalid');
      if (this.wrong.hasChildNodes()) fill(this.wrong);
      return;
    }
    this.input.setAttribute('aria-invalid', 'true');
    fill(this.wrong, ...words);
    this.input.focus();
    this.input.select();
  }

  /** Whether something was entered; says so where not. */
  isFilled() {
    if (this.input.value.trim() !== '') return true;
    this.complain(t('field.empty'));
    return false;
  }
}

/** A list to choose from: `options` are `[value, label]`. */
export function choice(label, options, chosen, attributes = {}) {
  const id = newId();
  const select = h(
    'select',
    { id, ...attributes },
    options.map(([value, text, more]) => h('option', { value, selected: value === chosen, ...more }, text)),
  );
  return { select, element: h('div', { class: 'field' }, h('label', { for: id }, label), select) };
}
