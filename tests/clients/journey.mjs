/**
 * Rocket.Chat's official JavaScript client, as published, lives the whole journey of a lost second factor.
 *
 * Input: one JSON document on standard input,
 * `{"url":"http://127.0.0.1:PORT","now":<Unix time in ms at which the server's clock stands still>,
 * "admin":{"username","password","totpSecret" (base32)},"member":{"username","password"}}`. The admin holds a confirmed
 * enrolment and may reset others; the member has none. Neither has spent a code or failed.
 *
 * Output: a line for each step that holds, and no secret, code, token or password.
 * Exit: 0 every step held; 1 one did not, and standard error says which and why.
 *
 * The server takes a time step once per account, and no step before the last: the codes of one secret are spent in
 * the order of the steps before, at and after `now`.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { json } from 'node:stream/consumers';
import { RestClient } from '@rocket.chat/api-client';
import { Secret, TOTP, URI } from 'otpauth';

const { url, now, admin, member } = await json(process.stdin);

const ENABLE = '/v1/users.enableTotp';
const VALIDATE = '/v1/users.validateTotp';
const CODES_REMAINING = '/v1/users.totpCodesRemaining';
const RESET = '/v1/users.resetTOTP';

const BACKUP_CODE = /^[23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz]{8}$/;

/** An authenticator: the code of the step `offset` steps from now. RFC 6238's defaults are otpauth's too. */
const authenticator = (totp) => (offset) => totp.generate({ timestamp: now + offset * 30_000 });

/** Six digits that are no code of the window: of four, three at most can be. */
const wrongCode = (codeAt) => {
  const window = [-1, 0, 1].map(codeAt);
  return ['000000', '000001', '000002', '000003'].find((code) => !window.includes(code));
};

/** A session of its own, as on another device. */
async function logIn({ username, password }, code) {
  const digest = createHash('sha256').update(password).digest('hex');
  const client = new RestClient({ baseUrl: url });
  client.handleTwoFactorChallenge(({ method }) => {
    assert.equal(method, 'password');
    return digest;
  });
  const { status, data } = await client.post('/v1/login', {
    user: username,
    password: { digest, algorithm: 'sha-256' },
    ...(code && { code }),
  });
  assert.equal(status, 'success');
  client.setCredentials({ 'X-User-Id': data.userId, 'X-Auth-Token': data.authToken });
  return client;
}

/** The body of a refusal. Where the client does not ask for a code itself, it rejects with the response. */
async function refusal(call, status) {
  const response = await call.then(() => assert.fail('the server did not refuse'), (reason) => reason);
  if (!(response instanceof Response)) throw response;
  assert.equal(response.status, status);
  return response.json();
}

async function loginRefusal(id, ...login) {
  const { error, details } = await refusal(logIn(...login), 401);
  assert.equal(error, id);
  assert.equal(details?.method, 'totp');
}

/** Whether `me` shows an enrolment. */
async function isEnrolled(client) {
  const { success, services } = await client.get('/v1/me');
  assert.equal(success, true);
  const totp = services?.totp;
  assert.ok(totp === undefined || totp.enabled === true, 'me shows an enrolment that is not enabled');
  return totp !== undefined;
}

/** Asks for a secret, and reads it as a phone does: from the QR code's address. */
async function enrol(client) {
  const { success, secret, url } = await client.post(ENABLE);
  assert.equal(success, true);
  const totp = URI.parse(url);
  assert.ok(totp instanceof TOTP && totp.secret.base32 === secret, 'the address does not hold the secret');
  return { secret, codeAt: authenticator(totp) };
}

async function confirm(client, code) {
  const { success, codes } = await client.post(VALIDATE, { code });
  assert.equal(success, true);
  assert.equal(new Set(codes).size, 12, 'there are not 12 different backup codes');
  assert.ok(codes.every((code) => BACKUP_CODE.test(code)), 'a backup code is not of 8 characters of the alphabet');
  assert.ok(await isEnrolled(client), 'me shows no enrolment');
  const { remaining } = await client.get(CODES_REMAINING);
  assert.equal(remaining, 12);
}

let session;
let adminSession;
let lost;
const adminCodeAt = authenticator(new TOTP({ secret: Secret.fromBase32(admin.totpSecret) }));

const journey = {
  async 'a member logs in, without a second factor'() {
    session = await logIn(member);
    assert.ok(!(await isEnrolled(session)), 'me shows an enrolment');
  },

  async 'the member enrols'() {
    lost = await enrol(session);
    await confirm(session, lost.codeAt(-1));
  },

  async 'the member logs out, and in again only with a code'() {
    await session.post('/v1/logout');
    await refusal(session.get('/v1/me'), 401);
    await loginRefusal('totp-required', member);
    await loginRefusal('totp-invalid', member, wrongCode(lost.codeAt));
    session = await logIn(member, lost.codeAt(0));
  },

  async 'an admin logs in with a code'() {
    adminSession = await logIn(admin, adminCodeAt(-1));
  },

  // The client asks again within the same call, for as long as the answer is totp-invalid.
  async 'the admin resets the member, asked for a code twice'() {
    const codes = [wrongCode(adminCodeAt), adminCodeAt(0)];
    const asked = [];
    adminSession.handleTwoFactorChallenge(async ({ method, invalidAttempt }) => {
      asked.push({ method, invalidAttempt });
      return codes.shift() ?? assert.fail('a third code was asked for');
    });
    const userId = session.getCredentials()['X-User-Id'];
    assert.deepEqual(await adminSession.post(RESET, { userId }), { success: true });
    assert.deepEqual(asked, [
      { method: 'totp', invalidAttempt: false },
      { method: 'totp', invalidAttempt: true },
    ]);
  },

  async 'the member is logged out everywhere, and in again without a code; the admin stays'() {
    await refusal(session.get('/v1/me'), 401);
    session = await logIn(member);
    assert.ok(!(await isEnrolled(session)), 'me shows an enrolment');
    assert.ok(await isEnrolled(adminSession), 'the admin lost theirs');
  },

  async 'the member enrols again, at once, with a new secret only'() {
    const found = await enrol(session);
    assert.ok(found.secret !== lost.secret, 'the secret is the lost one');
    const { success } = await refusal(session.post(VALIDATE, { code: lost.codeAt(1) }), 400);
    assert.equal(success, false);
    await confirm(session, found.codeAt(0));
    await logIn(member, found.codeAt(1));
  },
};

/** Why a step does not hold; never the text of a response, which may hold a secret. */
async function describe(reason) {
  if (reason instanceof SyntaxError) return 'the answer is not JSON';
  if (!(reason instanceof Response)) return reason.cause?.message ?? reason.message;
  const { errorType, error } = await reason.json().catch(() => ({}));
  return `the server refused with ${reason.status} ${errorType ?? error ?? ''}`;
}

for (const [step, holds] of Object.entries(journey)) {
  try {
    await holds();
    console.log(step);
  } catch (reason) {
    console.error(`${step}: ${await describe(reason)}`);
    process.exit(1);
  }
}
