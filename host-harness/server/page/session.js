/** Who is signed in, in this tab alone and until it is closed. No cookie: no other site can act in the caller's name. */

const KEPT = 'session';

/** `{userId, authToken, username, asks}` of who is signed in; `null` of nobody. */
export function session() {
  return JSON.parse(sessionStorage.getItem(KEPT));
}

/** Keeps who is signed in, as `login` answers. */
export function begin({ userId, authToken, me }) {
  keep({ userId, authToken, username: me.username, asks: asksOf(me.services) });
}

/** The caller's second factor is another now, as `me` tells it. */
export function changed({ services }) {
  keep({ ...session(), asks: asksOf(services) });
}

/** Forgets who is signed in. */
export function end() {
  sessionStorage.removeItem(KEPT);
}

const keep = (who) => sessionStorage.setItem(KEPT, JSON.stringify(who));

/** How the server will ask for the caller's second factor, where that is known without asking. */
function asksOf({ totp, email2fa }) {
  return totp ? { method: 'totp', availableMethods: email2fa ? ['totp', 'email'] : ['totp'] } : null;
}
