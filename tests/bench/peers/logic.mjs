// What both peers share: the store, and the decision about
// POST /api/v1/users.resetTOTP, with the reads and durable writes of this
// project's host. Prepared statements, one transaction a durable write.
//
// An answer is `{ status, body }`; the servers write it.

import { hash } from 'node:crypto';
import Database from 'libsql';
import { verifySync } from 'otplib';

const STEP_SECONDS = 30;
const FREE_FAILURES = 5;
const FIRST_LOCK = 30_000;
const LONGEST_LOCK = 3_600_000;
const SUBJECT = 'Two Factor TOTP Reset Notification';
const DEFAULTS = { 'two-factor-enabled': 'true', 'totp-enabled': 'true', 'totp-window': '1', 'rate-limit-calls': '10' };

const refused = (id, message, details) => ({
	status: 400,
	body: { success: false, error: `${message} [${id}]`, errorType: id, ...(details && { details }) },
});
const invalid = (problem) => ({
	status: 400,
	body: { success: false, errorType: 'invalid-params', error: problem },
});
const totp = { method: 'totp', codeGenerated: false };

export const NOT_LOGGED_IN = {
	status: 401,
	body: { status: 'error', message: 'You must be logged in to do this.' },
};
export const TOO_MANY = {
	status: 429,
	body: { success: false, error: 'Error, too many requests. Please slow down. [error-too-many-requests]' },
};
const SUCCESS = { status: 200, body: { success: true } };
const QUERY = invalid('the query is not empty: the body names the member');
const REQUIRED = refused('totp-required', 'TOTP Required', { ...totp, availableMethods: ['totp'] });
const UNENROLLED = refused('totp-required', 'TOTP Required', { ...totp, availableMethods: [] });
const INVALID = refused('totp-invalid', 'TOTP Invalid', totp);
const LOCKED = refused('totp-max-attempts', 'TOTP Maximun Failed Attempts Reached', totp);
const NOT_ALLOWED = refused('error-not-allowed', 'Not allowed');
const FEDERATED = refused('error-not-allowed', 'Federated Users cant have TOTP', { function: 'resetTOTP' });
const DISABLED = refused('error-two-factor-not-enabled', 'Two factor authentication is not enabled');
const UNKNOWN = refused(
	'error-invalid-user',
	'The required "userId" or "username" param provided does not match any users',
);
const UNNAMED = refused(
	'error-user-param-not-provided',
	'The required "userId" or "username" param was not provided',
);

/** The store in `file`, whose tables are there. */
export function open(file) {
	const db = new Database(file, { timeout: 2000 });
	for (const pragma of ['journal_mode = WAL', 'synchronous = FULL', 'foreign_keys = ON', 'secure_delete = ON'])
		db.exec(`PRAGMA ${pragma}`);
	const sql = (text) => db.prepare(text);
	const settings = sql('SELECT name, value FROM setting');
	const token = sql(
		`SELECT user.id, username FROM login_token JOIN user ON user.id = login_token.user
		 WHERE login_token.user = ? AND hash = ? AND (expires IS NULL OR expires > ?) AND NOT deactivated`,
	);
	const permission = sql(
		'SELECT 1 FROM user_role JOIN role_permission USING (role) WHERE user = ? AND permission = ?',
	);
	const userById = sql('SELECT id, username, federated FROM user WHERE id = ?');
	const userByName = sql('SELECT id, username, federated FROM user WHERE username_key = ?');
	const enrolled = sql('SELECT secret, last_step FROM totp WHERE user = ?');
	const backupCodes = sql('SELECT hash FROM backup_code WHERE user = ?');
	const failures = sql('SELECT count, locked_until FROM failed_attempt WHERE user = ?');
	const setFailures = sql(
		`INSERT INTO failed_attempt (user, count, locked_until) VALUES (?, ?, ?)
		 ON CONFLICT DO UPDATE SET count = excluded.count, locked_until = excluded.locked_until`,
	);
	const clearFailures = sql('DELETE FROM failed_attempt WHERE user = ?');
	const spendStep = sql('UPDATE totp SET last_step = ?2 WHERE user = ?1 AND (last_step IS NULL OR last_step < ?2)');
	const spendBackupCode = sql('DELETE FROM backup_code WHERE user = ? AND hash = ?');
	const removeTotp = sql('DELETE FROM totp WHERE user = ?');
	const removeTokens = sql('DELETE FROM login_token WHERE user = ?');
	const queueNotice = sql(
		`INSERT INTO outbox (recipient, subject, body, queued, next_try)
		 SELECT address, ?2, ?3, ?4, ?4 FROM email WHERE user = ?1 AND verified`,
	);
	const audit = sql(
		`INSERT INTO audit (at, request_id, action, caller, target, decision, reason)
		 VALUES (?, ?, 'reset-totp', ?, ?, ?, ?)`,
	);
	const has = (user, name) => permission.get(user, name) !== undefined;

	const readSettings = () => {
		const all = { ...DEFAULTS };
		for (const { name, value } of settings.all()) all[name] = value;
		return all;
	};

	/** Counts a failed attempt, durably, before the factor is handed out; undefined while locked. */
	const beginAttempt = db.transaction((user, now) => {
		const factor = enrolled.get(user);
		const { count, locked_until: until } = failures.get(user) ?? { count: 0 };
		if (!factor || (until && until > now)) return undefined;
		const failed = count + 1;
		const lock = failed >= FREE_FAILURES && now + Math.min(FIRST_LOCK * 2 ** (failed - FREE_FAILURES), LONGEST_LOCK);
		setFailures.run(user, failed, lock || null);
		return { secret: factor.secret, lastStep: factor.last_step, backupCodes: backupCodes.all(user) };
	}).immediate;

	/** The one effect, after every check again. */
	const commit = db.transaction((request, proof, target) => {
		const { caller, now } = request;
		const enabled = readSettings()['two-factor-enabled'] === 'true';
		if (!token.get(caller.id, caller.tokenHash, now) || !enabled) return NOT_ALLOWED;
		if (target !== caller.id && !has(caller.id, 'edit-other-user-totp')) return NOT_ALLOWED;
		const user = userById.get(target);
		if (!user) return UNKNOWN;
		if (user.federated) return NOT_ALLOWED;
		const spent = proof.step
			? spendStep.run(caller.id, proof.step)
			: spendBackupCode.run(caller.id, proof.backupCode);
		if (spent.changes !== 1) return INVALID;
		const removed = removeTotp.run(target).changes > 0;
		if (removed) {
			removeTokens.run(target);
			if (target !== caller.id) queueNotice.run(target, SUBJECT, notice(caller.username, now), now);
		}
		clearFailures.run(caller.id);
		audit.run(now, request.id, caller.id, target, removed ? 'reset' : 'nothing-enrolled', null);
		return SUCCESS;
	}).immediate;

	return {
		/** Whose token this is; undefined where nobody's, or not that user's. */
		authenticate(user, text, now) {
			const tokenHash = hash('sha256', text, 'base64');
			const found = token.get(user, tokenHash, now);
			return found && { ...found, tokenHash };
		},

		settings: readSettings,
		has,
		beginAttempt,
		commit,
		isEnrolled: (user) => enrolled.get(user) !== undefined,
		find: ({ id, username }) => (id ? userById.get(id) : userByName.get(username.toLowerCase())),

		/** Writes the audit row of a request that changed nothing. */
		record({ id, caller, now }, decision, reason) {
			audit.run(now, id, caller.id, null, decision, reason);
		},
	};
}

/**
 * Decides about `request`: `{ id, caller, now, settings, query, code, body }`, where
 * `query` says whether there is one, and `body` is what its JSON says.
 */
export function decide(store, request) {
	const answer = judge(store, request);
	if (answer !== SUCCESS) store.record(request, answer === LOCKED ? 'locked' : 'refused', answer.body.errorType);
	return answer;
}

function judge(store, request) {
	const { caller, now, settings, query, code, body } = request;
	if (query) return QUERY;
	const selectors = read(body);
	if (!selectors) return invalid('the body is not a JSON object with the keys `userId`, `username` or `user`');
	if (settings['two-factor-enabled'] !== 'true') return DISABLED;
	if (settings['totp-enabled'] !== 'true' || !store.isEnrolled(caller.id)) return UNENROLLED;
	if (!code) return REQUIRED;
	const factor = store.beginAttempt(caller.id, now);
	if (!factor) return LOCKED;
	const proof = prove(factor, code, now, Number(settings['totp-window']));
	if (!proof) return INVALID;
	if (selectors.length === 0) return store.commit(request, proof, caller.id);
	if (!store.has(caller.id, 'edit-other-user-totp')) return NOT_ALLOWED;
	const named = selectors.filter(({ id, username }) => (id ?? username).trim());
	if (named.length === 0) return UNNAMED;
	const found = named.map((selector) => store.find(selector));
	if (found.some((user) => user?.id !== found[0]?.id)) return invalid('the keys name different users');
	if (!found[0]) return UNKNOWN;
	if (found[0].federated) return FEDERATED;
	return store.commit(request, proof, found[0].id);
}

/** Whom the body names: none for oneself; undefined where it is not understood. */
function read(body) {
	if (body === undefined) return [];
	if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined;
	const selectors = [];
	for (const [key, value] of Object.entries(body)) {
		if (typeof value !== 'string') return undefined;
		if (key === 'userId') selectors.push({ id: value });
		else if (key === 'username' || key === 'user') selectors.push({ username: value });
		else return undefined;
	}
	return selectors;
}

/** Which time step or backup code `code` is; undefined where it is neither, or spent. */
function prove({ secret, lastStep, backupCodes }, code, now, window) {
	if (/^\d{6}$/.test(code)) {
		const checked = verifySync({
			secret,
			token: code,
			epoch: Math.floor(now / 1000),
			epochTolerance: window * STEP_SECONDS,
			...(lastStep !== null && { afterTimeStep: lastStep }),
		});
		return checked.valid ? { step: checked.timeStep } : undefined;
	}
	const backupCode = hash('sha256', code, 'hex');
	return backupCodes.some(({ hash: known }) => known === backupCode) ? { backupCode } : undefined;
}

function notice(caller, now) {
	return `Your two-factor authentication by TOTP was reset by ${caller} at ${new Date(now).toISOString()}.

You have been logged out everywhere. Log in again and enrol your
authenticator app anew. If you did not ask for this, tell your
workspace's administrator at once.
`;
}
