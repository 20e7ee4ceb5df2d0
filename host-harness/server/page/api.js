/** The server's HTTP API, and what can be wrong with an answer. */
import { end, session } from './session.js';

/** Where the routes are: beside the folder that this page is in. */
const ROUTES = new URL('../api/v1/', location.href);

/** How long an answer may take, in milliseconds: longer than any that the server gives. */
const PATIENCE = 20_000;

/** How a host says that its store may have done what was asked, or not. */
const OUTCOME_UNKNOWN = 'host-outcome-unknown';

/** Why something was not answered as hoped. */
export class Problem extends Error {
  /**
   * @param {'network'|'session'|'too-many'|'busy'|'unknown'|'refused'|'failed'} kind `unknown`: the server cannot tell
   *   whether it has done it.
   * @param {object} [about]
   * @param {string} [about.id] The server's name for what is wrong.
   * @param {string} [about.said] The server's sentence.
   * @param {object} [about.details] How a second factor is asked for.
   * @param {number} [about.retryAfter] Seconds to wait.
   * @param {string} [about.request] The id under which the server's log knows the request.
   */
  constructor(kind, about = {}) {
    super(kind);
    Object.assign(this, { kind, ...about });
  }

  /** A second factor is asked for. */
  get wantsCode() {
    return this.id === 'totp-required';
  }

  /** The code was wrong, or was used before. */
  get isWrongCode() {
    return this.id === 'totp-invalid' || this.id === 'invalid-totp';
  }

  /** Nothing tells whether it was done. */
  get isLost() {
    return ['network', 'unknown', 'failed'].includes(this.kind);
  }

  /** Too many wrong codes: even a right one is refused, for a while or for good. */
  get isLocked() {
    return this.id === 'totp-max-attempts';
  }
}

/** What ends the requests of whoever signs out. */
let leaving = new AbortController();

let signInAgain = async () => false;

/** Whom to ask, once the session has ended, for another: it tells whether there is one. */
export function onSessionEnd(ask) {
  signInAgain = ask;
}

/** What `GET route?query` answers; `undefined` values are left out of the query. */
export async function get(route, query = {}, signal = undefined) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== ''));
  return (await call('GET', asked.size > 0 ? `${route}?${asked}` : route, { signal })).body;
}

/** What `POST route` answers, and the request's id. `code` and `method` are the caller's second factor. */
export function post(route, body, factor = {}) {
  return call('POST', route, { body, factor });
}

/** Who is signed in by this name and password, for `begin` of the session. */
export async function logIn(user, password, factor = {}) {
  const digest = await sha256(password);
  const proof = digest === null ? password : { digest, algorithm: 'sha-256' };
  const { body } = await send('POST', 'login', { body: { user, password: proof }, factor });
  return body.data;
}

/** Ends the session at the server. What else was asked for in its name is not waited for. */
export function logOut() {
  leaving.abort();
  leaving = new AbortController();
  return send('POST', 'logout', { caller: session() });
}

async function call(method, route, request) {
  for (;;) {
    const caller = session();
    try {
      return await send(method, route, { ...request, caller });
    } catch (problem) {
      if (problem.kind !== 'session') throw problem;
      // Another request may have asked for a new session meanwhile.
      if (session()?.authToken === caller?.authToken) end();
      if (session() === null && !(await signInAgain())) throw problem;
      // What one account has asked for is not asked for in another's name.
      if (session()?.userId !== caller?.userId) throw problem;
      // The code was of the old session's last minute: signing in again has spent it.
      if (request.factor?.code) throw new Problem('session', { isBack: true });
    }
  }
}

async function send(method, route, { body, factor = {}, caller, signal }) {
  const headers = new Headers();
  if (body !== undefined) headers.set('content-type', 'application/json');
  if (caller) {
    headers.set('x-user-id', caller.userId);
    headers.set('x-auth-token', caller.authToken);
  }
  if (factor.code) headers.set('x-2fa-code', factor.code);
  if (factor.method) headers.set('x-2fa-method', factor.method);
  const ends = [leaving.signal, signal].filter(Boolean);
  let answer;
  let said;
  try {
    answer = await fetch(new URL(route, ROUTES), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      signal: AbortSignal.any([...ends, AbortSignal.timeout(PATIENCE)]),
    });
    said = await answer.text();
  } catch (error) {
    if (ends.some((end) => end.aborted)) throw error;
    throw new Problem('network');
  }
  const request = answer.headers.get('x-request-id') ?? undefined;
  const parsed = parse(said);
  if (answer.ok && parsed !== null) return { body: parsed, request };
  throw problemOf(answer, parsed ?? {}, request);
}

/** The answer, as JSON; `null` where it is none: a proxy's page, for example. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problemOf({ status, headers }, { error, errorType, message, details }, request) {
  const seconds = Number.parseInt(headers.get('retry-after'), 10);
  const about = {
    // A log-in says what is wrong in `error`; of a wrong password it says 403 there.
    id: errorType ?? (message === undefined ? undefined : String(error ?? '')),
    said: message ?? error,
    details,
    retryAfter: Number.isNaN(seconds) ? undefined : seconds,
    request,
  };
  if (status === 401 && !about.id) return new Problem('session', about);
  if (status === 429) return new Problem('too-many', about);
  if (status === 503) return new Problem(about.id === OUTCOME_UNKNOWN ? 'unknown' : 'busy', about);
  return new Problem(status >= 400 && status < 500 ? 'refused' : 'failed', about);
}

/** As the server wants passwords: in lower-case hexadecimal; `null` where the browser does not trust the connection. */
export async function sha256(text) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
