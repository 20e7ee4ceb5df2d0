/** Questions over the page. */
import { button, fill, h, newId } from './dom.js';
import { t } from './texts.js';

/** A dialog that is open until it is closed: by its buttons, Escape, or what it was about. */
export class Dialog {
  /** @param {(closed: Dialog) => void} [left] After it was closed. */
  constructor(left) {
    this.title = h('h2', { id: newId(), tabindex: '-1' });
    this.body = h('div', { class: 'stack' });
    const close = button('×', () => this.isBusy || this.close(), { class: 'close', 'aria-label': t('close') });
    this.element = h('dialog', { 'aria-labelledby': this.title.id }, close, this.title, this.body);
    const stay = (event) => {
      if (this.isBusy) event.preventDefault();
    };
    // Browsers let one `cancel` be refused, and close at the second Escape without asking.
    const stayAtEscape = (event) => event.key === 'Escape' && stay(event);
    this.element.addEventListener('cancel', stay);
    document.addEventListener('keydown', stayAtEscape);
    this.element.addEventListener('close', () => {
      document.removeEventListener('keydown', stayAtEscape);
      this.element.remove();
      left?.(this);
    });
    document.body.append(this.element);
    this.element.showModal();
  }

  /** Shows something else in it, and goes there. */
  show(title, ...body) {
    fill(this.title, title);
    fill(this.body, ...body);
    this.element.scrollTop = 0;
    if (this.isOpen) this.title.focus();
  }

  /** What the dialog ends with: a button that closes it. */
  closing(attributes = {}) {
    return h(
      'div',
      { class: 'actions' },
      button(t('close'), () => this.close(), attributes),
    );
  }

  /** What is under way is waited for: nobody should have to guess how it ended. */
  get isBusy() {
    return this.element.querySelector('[aria-busy]') !== null;
  }

  get isOpen() {
    return this.element.open;
  }

  close() {
    this.element.close();
  }
}
