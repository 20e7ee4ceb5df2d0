/** How the page tells what happened, and what went wrong. */
import { Problem } from './api.js';
import { button, data, fill, h } from './dom.js';
import { has, rich, t } from './texts.js';

/** What screen readers are told beside what is seen; to be in the page from the start. */
export const status = h('p', { role: 'status', class: 'unseen' });

/** Tells screen readers. */
export function say(text) {
  fill(status, text);
}

/** A frame around something to know: `good`, `warn`, `bad` or `quiet`. */
export function notice(kind, ...children) {
  return h('div', { class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : false }, ...children);
}

/** What is wrong, in plain words. An error of the page's own is no `Problem`, and is told as one. */
export function explain(problem) {
  const { kind, id, said, retryAfter } = problem instanceof Problem ? problem : { kind: 'page' };
  const wait = retryAfter > 0 ? [' ', rich('problem.wait', { count: retryAfter })] : [];
  if (kind === 'session') return [t(problem.isBack ? 'problem.back' : 'problem.session')];
  if (kind === 'refused' && id !== undefined && has(`refused.${id}`)) return [t(`refused.${id}`), ...wait];
  if (kind === 'refused' && said) return [rich('problem.refused', { said }), ...wait];
  if (kind === 'busy' && has(`busy.${id}`)) return [t(`busy.${id}`), ...wait];
  return [t(`problem.${kind}`), ...wait];
}

/**
 * A frame that tells a problem.
 *
 * @param {Error} problem
 * @param {() => void} [again] Tries once more: a button, once the server's wait is over.
 */
export function problemNotice(problem, again) {
  const request = ['busy', 'unknown', 'failed'].includes(problem.kind) && problem.request;
  const retry = again && button(t('again'), again);
  if (retry) holdBack(retry, problem.retryAfter);
  return notice(
    'bad',
    h('p', {}, ...explain(problem)),
    request && h('p', { class: 'small' }, rich('problem.request', { request: data(request, 'code') })),
    retry && h('p', {}, retry),
  );
}

/** Disables `control`, a button, for as many seconds as the server wants to be left alone, and counts them down on it. */
export function holdBack(control, seconds) {
  if (!(seconds > 0)) return;
  const label = [...control.childNodes];
  const free = Date.now() + seconds * 1000;
  control.disabled = true;
  const tick = () => {
    const left = Math.ceil((free - Date.now()) / 1000);
    if (left > 0) {
      fill(control, t('again.in', { count: left }));
    } else {
      clearInterval(timer);
      control.disabled = false;
      fill(control, ...label);
    }
  };
  const timer = setInterval(tick, 500);
  tick();
}

/** Keeps a form from being sent twice while `work` goes on. */
export async function busy(form, work) {
  const controls = [...form.querySelectorAll('button')].filter((control) => !control.disabled);
  form.setAttribute('aria-busy', 'true');
  for (const control of controls) control.disabled = true;
  try {
    return await work();
  } finally {
    form.removeAttribute('aria-busy');
    for (const control of controls) control.disabled = false;
  }
}
