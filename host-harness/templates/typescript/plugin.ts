/**
 * The contract of wit/ in TypeScript. `host-harness check` tries it.
 *
 * The order of the checks: the body is well formed, the second factor is proved, then, if a member is named: the caller
 * holds the permission, the workspace uses second factors, the member exists.
 */
import type { Caller, Request, Response } from 'chat:reset-totp/handler@0.1.0';
import { callerHas } from 'chat:reset-totp/permissions@0.1.0';
import * as secrets from 'chat:reset-totp/secrets@0.1.0';
import type { Method, Proof, Target } from 'chat:reset-totp/secrets@0.1.0';
import * as settings from 'chat:reset-totp/settings@0.1.0';
import { find, type Selector } from 'chat:reset-totp/users@0.1.0';
import { now } from 'wasi:clocks/wall-clock@0.2.6';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { Secret, TOTP } from 'otpauth';

const STEP_SECONDS = 30;
const CODE = /^(\d{3})[-\s]?(\d{3})$/;
const BACKUP_CODE = /^[23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz]{8}$/;
const KEYS: Record<string, Selector['tag']> = { userId: 'id', username: 'username', user: 'username' };

/** Why a request is refused: the body of the answer. */
class Refusal extends Error {
  constructor(readonly body: object) {
    super();
  }

  static of(id: string, text: string, details?: object): Refusal {
    return new Refusal({ success: false, error: `${text} [${id}]`, errorType: id, details });
  }

  static params(problem: string): Refusal {
    return new Refusal({ success: false, errorType: 'invalid-params', error: problem });
  }

  static code(id: string, text: string, method: Method): Refusal {
    return Refusal.of(id, text, { method: name(method), codeGenerated: false });
  }
}

export const handler = {
  resetTotp(caller: Caller, request: Request): Response {
    try {
      reset(caller, request);
      return { status: 200, body: JSON.stringify({ success: true }) };
    } catch (refusal) {
      // Whatever else is thrown ends the call: it is no answer.
      if (!(refusal instanceof Refusal)) throw refusal;
      return { status: 400, body: JSON.stringify(refusal.body) };
    }
  },
};

function reset(caller: Caller, request: Request): void {
  const selectors = parse(request);
  const enabled = settings.twoFactorEnabled();
  const proof: Proof = enabled ? prove(caller, request) : { tag: 'none' };
  const target: Target = selectors === null ? { tag: 'caller' } : { tag: 'user', val: member(selectors, enabled) };
  const done = attempt(() => secrets.reset(proof, target));
  if (!('refused' in done)) return;
  switch (done.refused) {
    case 'proof-refused':
      throw Refusal.code('totp-invalid', 'TOTP Invalid', methodOf(proof));
    case 'unknown-target':
      throw invalidUser();
    default:
      throw notAllowed();
  }
}

/** Whom the body names; null for the caller. */
function parse({ body, contentType }: Request): Selector[] | null {
  const keys = read(body, contentType);
  for (const [key, value] of keys) {
    if (!Object.hasOwn(KEYS, key)) throw Refusal.params('unknown key, expected `userId`, `username` or `user`');
    if (typeof value !== 'string' || !isText(value)) throw Refusal.params('a value is not a string');
  }
  if (new Set(keys.map(([key]) => key)).size < keys.length) throw Refusal.params('duplicate key');
  if (keys.length === 0) return null;
  const named = keys.filter(([, value]) => value.trim() !== '');
  return named.map(([key, val]) => ({ tag: KEYS[key]!, val }));
}

/** Of Unicode, without what a form's decoder puts in the place of bytes that are none. */
function isText(value: string): boolean {
  return value.isWellFormed() && !value.includes('\ufffd');
}

/** The keys of a JSON object, whatever the content type says, or of a form. */
function read(body: Uint8Array, contentType?: string): [string, any][] {
  if (body.length === 0) return [];
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    // A byte order mark before an object is passed over (RFC 8259 section 8.1).
    const object = text.replace(/^\ufeff/, '');
    if (/^[ \t\r\n]*\{/.test(object)) return entries(object);
    if (/^application\/x-www-form-urlencoded\s*(;|$)/i.test(contentType ?? '')) return [...new URLSearchParams(text)];
  } catch (problem) {
    if (problem instanceof Refusal) throw problem;
    // Not UTF-8, or not JSON.
  }
  throw Refusal.params('the body is not a JSON object');
}

/** Of an object whose values are texts: JSON.parse passes over a key that comes again. */
function entries(text: string): [string, any][] {
  const parsed = Object.entries(JSON.parse(text));
  const texts = text.match(/"(?:[^"\\]|\\.)*"/g) ?? [];
  if (texts.length !== 2 * parsed.length) throw Refusal.params('a key comes twice, or a value is not a string');
  return parsed;
}

function prove(caller: Caller, request: Request): Proof {
  if (caller.bypassToken && settings.bypassTokenAllowed()) return { tag: 'none' };
  const available = secrets.methods();
  const method = choose(available, request.twoFactorMethod);
  if (method === undefined) {
    if (settings.missingFactorAllowed()) return { tag: 'none' };
    throw required({ tag: 'totp' }, available);
  }
  const code = request.twoFactorCode ?? '';
  if (code.trim() === '') throw ask(method, available);
  const proof = attempt(() => proofBy(method, code));
  if ('refused' in proof && proof.refused === 'locked') {
    throw Refusal.code('totp-max-attempts', 'TOTP Maximun Failed Attempts Reached', method);
  }
  if ('refused' in proof || proof.value === undefined) throw Refusal.code('totp-invalid', 'TOTP Invalid', method);
  return proof.value;
}

/** The method that is asked for, unless it is the password; otherwise the one that the host prefers. */
function choose(available: Method[], asked?: string): Method | undefined {
  const known = available.filter(({ tag }) => tag !== 'other');
  return known.find(({ tag }) => tag === asked && tag !== 'password') ?? known[0];
}

function ask(method: Method, available: Method[]): Refusal {
  if (method.tag !== 'email') return required(method, available);
  const sent = attempt(secrets.sendEmailCode);
  if (!('refused' in sent)) return required(method, available, sent.value);
  if (sent.refused !== 'locked') return required(method, available);
  return Refusal.code('totp-max-attempts', 'TOTP Maximun Failed Attempts Reached', method);
}

function required(method: Method, available: Method[], sent?: secrets.EmailCode): Refusal {
  return Refusal.of('totp-required', 'TOTP Required', {
    method: name(method),
    codeGenerated: sent?.sentNow ?? false,
    codeExpires: sent?.sentNow === false ? new Date(Number(sent.expires) * 1000).toISOString() : undefined,
    emailOrUsername: sent?.recipient,
    availableMethods: available.filter(({ tag }) => tag !== 'password').map(name),
  });
}

/** Throws what the host refuses. */
function proofBy(method: Method, code: string): Proof | undefined {
  switch (method.tag) {
    case 'totp':
      return totpProof(code.trim());
    case 'email':
      return secrets.checkEmailCode(code) ? { tag: 'email-code' } : undefined;
    case 'password':
      return secrets.checkPassword(code) ? { tag: 'password' } : undefined;
    default:
      return undefined;
  }
}

function totpProof(code: string): Proof | undefined {
  if (BACKUP_CODE.test(code)) {
    const hashes = bytesToHex(secrets.beginBackupCodeAttempt());
    const hash = bytesToHex(sha256(utf8ToBytes(code)));
    const isUnused = hashes.match(/.{64}/g)?.includes(hash);
    return isUnused ? { tag: 'backup-code', val: hash } : undefined;
  }
  const digits = CODE.exec(code);
  if (digits === null) return undefined;
  const { key, lastStep } = secrets.beginTotpCodeAttempt();
  const seconds = Number(now().seconds);
  const totp = new TOTP({ secret: new Secret({ buffer: key.slice().buffer }) });
  const token = digits.slice(1).join('');
  const delta = totp.validate({ token, timestamp: seconds * 1000, window: settings.totpWindow() });
  if (delta === null) return undefined;
  const step = BigInt(Math.floor(seconds / STEP_SECONDS) + delta);
  return lastStep !== undefined && step <= lastStep ? undefined : { tag: 'totp-step', val: step };
}

/** The id of the member whom all selectors name. */
function member(selectors: Selector[], enabled: boolean): string {
  if (!callerHas('edit-other-user-totp')) throw notAllowed();
  if (!enabled) {
    throw Refusal.of('error-two-factor-not-enabled', 'Two factor authentication is not enabled');
  }
  const [user, ...others] = selectors.map((selector) => find(selector));
  if (selectors.length === 0) {
    const text = 'The required "userId" or "username" param was not provided';
    throw Refusal.of('error-user-param-not-provided', text);
  }
  if (others.some((other) => other?.id !== user?.id)) throw Refusal.params('the keys name different users');
  if (user === undefined) throw invalidUser();
  if (user.federated) {
    throw Refusal.of('error-not-allowed', 'Federated Users cant have TOTP', { function: 'resetTOTP' });
  }
  return user.id;
}

/** What the host answers, or the case of its refusal: bindings throw that as an error's payload. */
function attempt<T>(ask: () => T): { value: T } | { refused: string } {
  try {
    return { value: ask() };
  } catch (error) {
    const refused = (error as { payload?: { tag?: string } }).payload?.tag;
    if (refused === undefined) throw error;
    return { refused };
  }
}

function methodOf(proof: Proof): Method {
  if (proof.tag === 'email-code') return { tag: 'email' };
  return proof.tag === 'password' ? { tag: 'password' } : { tag: 'totp' };
}

function name(method: Method): string {
  return method.tag === 'other' ? method.val : method.tag;
}

function invalidUser(): Refusal {
  const text = 'The required "userId" or "username" param provided does not match any users';
  return Refusal.of('error-invalid-user', text);
}

function notAllowed(): Refusal {
  return Refusal.of('error-not-allowed', 'Not allowed');
}
