// The accounts of a chat server, in memory, and what of them is lent to the plugin. This file is what to write anew
// over the database of another server; host.mjs stays as it is. Whatever is lent may be awaited.

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

const STEP = 30; // seconds
const WINDOW = 1; // accepted steps before and after the current one
const FAILURES = 5; // in a row, then locks,
const [LOCK, LONGEST_LOCK] = [30, 3600]; // in seconds, which double

/** Each method is one transaction: nothing is awaited within. */
export class Accounts {
  outbox = [];
  audit = [];

  /** `users` as in accounts.json; tokens are the hexadecimal SHA-256 of what a client sends. */
  constructor({ users }) {
    this.users = users.map((user) => ({ ...user, totp: fromBase32(user.totp), failures: 0, failedAt: 0 }));
  }

  /** The user as they are now, where this is a token of theirs. */
  async loggedIn(id, token = '') {
    const hash = createHash('sha256').update(token).digest('hex');
    return structuredClone(this.users.find((user) => user.id === id && user.tokens.includes(hash)));
  }

  byId(id) {
    return this.users.find((user) => user.id === id);
  }

  async find({ tag, val }) {
    const isIt = ({ id, username }) => (tag === 'id' ? id === val : username.toLowerCase() === val.toLowerCase());
    const user = this.users.find(isIt);
    return user && { id: user.id, username: user.username, federated: false };
  }

  async countFailure(id, now) {
    const user = this.byId(id);
    const over = user.failures - FAILURES;
    if (!user.totp) throw { tag: 'unavailable' };
    if (over >= 0 && now < user.failedAt + Math.min(LOCK * 2 ** over, LONGEST_LOCK)) throw { tag: 'locked' };
    user.failures += 1;
    user.failedAt = now;
    return { key: user.totp, lastStep: user.lastStep, backupCodeHashes: [] };
  }

  async forgiveFailure(id) {
    this.byId(id).failures -= 1;
  }

  /** What can be known here is checked again: `isRight` says of the caller, as they are now, whether the proof holds. */
  async reset(callerId, targetId, step, isRight, at) {
    const [caller, member] = [this.byId(callerId), this.byId(targetId ?? callerId)];
    if (targetId !== undefined && !caller.permissions.includes('edit-other-user-totp')) throw { tag: 'not-permitted' };
    if (!isRight(caller)) throw { tag: 'proof-refused' };
    if (!member) throw { tag: 'unknown-target' };
    const receipt = member.totp ? 'removed' : 'nothing-enrolled';
    Object.assign(caller, { lastStep: step, failures: 0 });
    if (receipt === 'removed') {
      Object.assign(member, { totp: undefined, lastStep: undefined, failures: 0, tokens: [] });
      this.outbox.push({ recipient: member.id, text: 'Your second factor was removed.' });
    }
    this.audit.push({ caller: caller.id, target: member.id, receipt, at });
    return receipt;
  }
}

/** What is lent to one call of the plugin: it is bound to one caller, one request and one moment. */
export class Call {
  at = Date.now();
  done = false;
  #key;
  #attempted = false;

  constructor(accounts, caller, code = '') {
    this.accounts = accounts;
    this.caller = caller;
    this.digits = code.trim().replace(/^(\d{3})[\s-]?(\d{3})$/, '$1$2');
  }

  /**
   * All of it, by the names in wit/. What the caller was when the request came is answered at once, the rest is
   * awaited. Backup codes, codes by e-mail and passwords are no factors here.
   */
  imports() {
    const unavailable = () => Promise.reject({ tag: 'unavailable' });
    const beginAttempt = () => this.#beginAttempt();
    return {
      'wasi:clocks/wall-clock': {
        now: () => ({ seconds: BigInt(Math.floor(this.at / 1000)), nanoseconds: (this.at % 1000) * 1e6 }),
        resolution: () => ({ seconds: 0n, nanoseconds: 1e6 }),
      },
      'chat:reset-totp/users': { find: (selector) => this.accounts.find(selector) },
      'chat:reset-totp/permissions': { callerHas: (permission) => this.caller.permissions.includes(permission) },
      'chat:reset-totp/settings': {
        twoFactorEnabled: () => true,
        totpWindow: () => WINDOW,
        missingFactorAllowed: () => false,
        bypassTokenAllowed: () => false,
      },
      'chat:reset-totp/secrets': {
        methods: () => (this.caller.totp ? [{ tag: 'totp' }] : []),
        beginTotpAttempt: beginAttempt,
        beginTotpCodeAttempt: beginAttempt,
        beginBackupCodeAttempt: unavailable,
        sendEmailCode: unavailable,
        checkEmailCode: unavailable,
        checkPassword: unavailable,
        reset: (proof, target) => this.#reset(proof, target),
      },
    };
  }

  /** The failure is counted before the key is handed out. */
  async #beginAttempt() {
    const factor = await this.accounts.countFailure(this.caller.id, this.at / 1000);
    [this.#key, this.#attempted] = [factor.key, true];
    return factor;
  }

  async #reset(proof, target) {
    if (!this.#attempted || proof.tag !== 'totp-step') throw { tag: 'proof-refused' };
    const step = Number(proof.val);
    const isRight = ({ lastStep }) => this.#isCodeOf(step) && (lastStep === undefined || step > lastStep);
    const targetId = target.tag === 'user' ? target.val : undefined;
    const receipt = await this.accounts.reset(this.caller.id, targetId, BigInt(step), isRight, this.at);
    [this.done, this.#attempted] = [true, false];
    return receipt;
  }

  /** Whether the request's code is that of this step, which is near (RFC 6238). */
  #isCodeOf(step) {
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(step));
    const mac = createHmac('sha1', this.#key).update(counter).digest();
    const number = (mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1e6;
    const [right, given] = [String(number).padStart(6, '0'), this.digits].map((text) => Buffer.from(text));
    const isNear = Math.abs(step - this.#step()) <= WINDOW;
    return isNear && right.length === given.length && timingSafeEqual(right, given);
  }

  #step() {
    return Math.floor(this.at / 1000 / STEP);
  }

  /** Takes the attempt off again where the code was no guess: right, or right until it was spent. */
  async end() {
    const steps = Array.from({ length: 2 * WINDOW + 1 }, (_, n) => this.#step() - WINDOW + n);
    if (this.#attempted && steps.some((step) => this.#isCodeOf(step))) await this.accounts.forgiveFailure(this.caller.id);
  }
}

function fromBase32(text) {
  const bits = [...text].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'));
  return Uint8Array.from(bits.join('').match(/.{8}/g), (byte) => Number.parseInt(byte, 2));
}
