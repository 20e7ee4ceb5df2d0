// Express: `node express.mjs STORE PORT`.

import { randomUUID } from 'node:crypto';
import express from 'express';
import pino from 'pino';
import { NOT_LOGGED_IN, TOO_MANY, decide, open } from './logic.mjs';

const [file, port] = process.argv.slice(2);
const store = open(file);
const log = pino();
const app = express();
app.disable('x-powered-by');
app.disable('etag');

app.use((req, res, next) => {
	const start = performance.now();
	req.id = randomUUID();
	res.set({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'x-request-id': req.id });
	res.on('finish', () => {
		log.info({ requestId: req.id, method: req.method, route: req.path, status: res.statusCode, millis: performance.now() - start }, 'answered');
	});
	next();
});

const answer = (res, { status, body }) => res.status(status).json(body);

function authenticate(req, res, next) {
	const [user, token] = [req.get('x-user-id'), req.get('x-auth-token')];
	req.now = Date.now();
	req.caller = user && token && store.authenticate(user, token, req.now);
	if (!req.caller) return answer(res, NOT_LOGGED_IN);
	req.settings = store.settings();
	if (req.settings['rate-limit-calls'] !== '0' && !store.has(req.caller.id, 'api-bypass-rate-limit'))
		return answer(res, TOO_MANY);
	next();
}

app.post('/api/v1/users.resetTOTP', authenticate, express.json({ limit: '64kb' }), (req, res) => {
	const { id, caller, now, settings, body } = req;
	const query = Object.keys(req.query).length > 0;
	const decided = decide(store, { id, caller, now, settings, query, code: req.get('x-2fa-code'), body });
	log.info({ requestId: id, caller: caller.id, action: 'reset-totp', reason: decided.body.errorType }, 'decided');
	answer(res, decided);
});

app.listen(Number(port), '127.0.0.1');
