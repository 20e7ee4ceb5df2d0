/** What a dialog shows where nothing tells whether something was done. */
import { button, h } from './dom.js';
import { explain, notice } from './notice.js';
import { t } from './texts.js';

/** Asks whether to look what happened, which `settle` does. */
export function askWhetherDone(dialog, problem, settle) {
  dialog.show(
    t('unknown'),
    notice('bad', h('p', {}, ...explain(problem)), h('p', {}, t('unknown.lead'))),
    h('div', { class: 'actions' }, button(t('unknown.settle'), settle, { class: 'primary' })),
  );
}

/** Told once it was looked, and nothing had happened. */
export const notDone = () => notice('warn', h('p', {}, t('unknown.not-done')));
