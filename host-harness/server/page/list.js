/** Long lists, a page at a time. */
import { button, fill, h } from './dom.js';
import { problemNotice, say } from './notice.js';
import { address } from './place.js';
import { t } from './texts.js';

/** Rows on a page. */
const ROWS = 25;

/** How the server says that a caller's roles do not suffice. */
const NOT_ALLOWED = 'error-not-allowed';

/**
 * A table of what the server gives out in pages.
 *
 * @param {object} list
 * @param {string} list.label What the table holds.
 * @param {string[]} list.columns What stands over each column; a column without words has buttons.
 * @param {(after: string|undefined, count: number) => Promise<{items: object[], next: string|null}>} list.load
 * @param {(item: object) => Array} list.cells What each column shows of an item.
 * @param {Array} list.empty What is said where there is nothing.
 * @param {AbortSignal} list.signal The screen was left.
 * @returns {{element: Element, reload: () => void}} `reload` asks for the same page again.
 */
export function pagedList({ label, columns, load, cells, empty, signal }) {
  const rows = h('tbody', { role: 'rowgroup' });
  const head = columns.map((column) =>
    column === '' ? h('td', { role: 'cell' }) : h('th', { scope: 'col', role: 'columnheader' }, column),
  );
  // Small screens show rows as cards, which would take a table's roles from it.
  const table = h(
    'table',
    { role: 'table', 'aria-label': label, tabindex: '-1' },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    rows,
  );
  const trouble = h('div');
  const pages = h('nav', { class: 'pages', 'aria-label': t('pages') });
  const element = h('section', { class: 'list' }, trouble, table, pages);
  /** Where this page began and all before it. */
  const starts = [undefined];
  read();
  return { element, reload: read };

  async function read() {
    fill(trouble);
    element.setAttribute('aria-busy', 'true');
    if (!rows.hasChildNodes()) fill(trouble, h('p', { class: 'quiet-text' }, t('loading')));
    try {
      const { items, next } = await fullPage();
      fill(trouble, items.length === 0 && h('p', { class: 'empty' }, empty));
      replace(items);
      table.hidden = items.length === 0;
      showPages(next);
      say(t('list.rows', { count: items.length }));
    } catch (problem) {
      if (signal.aborted) return;
      table.hidden = !rows.hasChildNodes();
      fill(
        trouble,
        problemNotice(problem, read),
        problem.id === NOT_ALLOWED && h('p', {}, h('a', { href: address('own') }, t('nav.own'))),
      );
    } finally {
      element.removeAttribute('aria-busy');
    }
  }

  /** Shows other rows; the focus stays at what has the same name. */
  function replace(items) {
    const name = rows.contains(document.activeElement) && document.activeElement.getAttribute('aria-label');
    fill(rows, items.map(row));
    if (name)
      (
        [...rows.querySelectorAll('[aria-label]')].find((one) => one.getAttribute('aria-label') === name) ?? table
      ).focus();
  }

  /** Asks on until there is a page: what is looked for may be far apart. */
  async function fullPage() {
    const items = [];
    let next = starts.at(-1);
    do {
      const page = await load(next, ROWS - items.length, signal);
      items.push(...page.items);
      next = page.next;
    } while (next !== null && items.length < ROWS && !signal.aborted);
    return { items, next };
  }

  function row(item) {
    return h(
      'tr',
      { role: 'row' },
      cells(item).map((cell, at) =>
        at === 0
          ? h('th', { scope: 'row', role: 'rowheader' }, cell)
          : h(
              'td',
              { role: 'cell', 'data-label': columns[at], class: columns[at] === '' && 'buttons' },
              isEmpty(cell) ? null : h('div', {}, cell),
            ),
      ),
    );
  }

  function showPages(next) {
    const turn = (to, text, isThere) => button(text, to, { disabled: !isThere });
    const isAlone = starts.length === 1 && next === null;
    fill(
      pages,
      !isAlone && [
        turn(back, t('list.back'), starts.length > 1),
        h('span', { class: 'quiet-text' }, t('list.page', { page: starts.length })),
        turn(() => forth(next), t('list.next'), next !== null),
      ],
    );
  }

  function back() {
    starts.pop();
    turned();
  }

  function forth(next) {
    starts.push(next);
    turned();
  }

  async function turned() {
    await read();
    element.scrollIntoView({ block: 'start' });
    table.focus();
  }
}

const isEmpty = (cell) => cell === null || cell === undefined || cell === '';
