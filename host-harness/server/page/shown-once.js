/**
 * What is shown once and was not yet put away: the key of an enrolment, or backup codes. It is in this tab's memory alone, and
 * for whoever asked for it.
 */
import { session } from './session.js';

/** `{secret, svg, isLost}`, or `{codes}`. `isLost`: the key's proof has no answer, and nobody has looked yet. */
let kept = null;

/** What is to be shown to who is signed in; `null` of nothing. */
export const shownOnce = () => kept;

/** Keeps what `ask` answers, unless whoever asked has left meanwhile. */
export async function keepAnswer(ask) {
  const asker = session().userId;
  const answer = await ask();
  if (session()?.userId === asker) keep(answer);
}

/** The answer to the key's proof was lost, or it was looked what has become of it. */
export function proofIsLost(isLost) {
  if (kept?.secret) keep({ ...kept, isLost });
}

/** Forgets what was shown. */
export const forget = () => keep(null);

function keep(what) {
  kept = what;
  if (what?.codes) window.addEventListener('beforeunload', askBeforeLeaving);
  else window.removeEventListener('beforeunload', askBeforeLeaving);
}

const askBeforeLeaving = (event) => event.preventDefault();
