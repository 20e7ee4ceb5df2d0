/**
 * What is shown once and was not yet put away: the key of an enrolment, or backup codes. It is in this tab's memory alone, and
 * for whoever asked for it.
 */
import { session } from './session.js';

/** `{secret, svg}`, or `{codes}`. */
let kept = null;

/** What is to be shown to who is signed in; `null` of nothing. */
export const shownOnce = () => kept;

/** Keeps what `ask` answers, unless whoever asked has left meanwhile. */
export async function keepAnswer(ask) {
  const asker = session().userId;
  const answer = await ask();
  if (session()?.userId === asker) keep(answer);
}

/** Forgets what was shown. */
export const forget = () => keep(null);

function keep(what) {
  kept = what;
  if (what?.codes) window.addEventListener('beforeunload', askBeforeLeaving);
  else window.removeEventListener('beforeunload', askBeforeLeaving);
}

const askBeforeLeaving = (event) => event.preventDefault();
