// Fastify: `node fastify.mjs STORE PORT`.

import { randomUUID } from 'node:crypto';
import fastify from 'fastify';
import { NOT_LOGGED_IN, TOO_MANY, decide, open } from './logic.mjs';

const [file, port] = process.argv.slice(2);
const store = open(file);
const app = fastify({
	bodyLimit: 64 * 1024,
	disableRequestLogging: true,
	genReqId: () => randomUUID(),
	logger: true,
});
app.decorateRequest('now', 0);
app.decorateRequest('caller', null);
app.decorateRequest('settings', null);

const string = { type: 'string' };
const refusal = {
	type: 'object',
	properties: {
		success: { type: 'boolean' },
		error: string,
		errorType: string,
		details: {
			type: 'object',
			properties: {
				function: string,
				method: string,
				codeGenerated: { type: 'boolean' },
				availableMethods: { type: 'array', items: string },
			},
		},
	},
};
const response = {
	200: { type: 'object', properties: { success: { type: 'boolean' } } },
	400: refusal,
	401: { type: 'object', properties: { status: string, message: string } },
	429: refusal,
};

// The members of this one come in another order.
const write = (reply, { status, body }) => {
	if (body.errorType === 'invalid-params') reply.serializer(JSON.stringify);
	return reply.code(status).send(body);
};

app.addHook('onRequest', async (request, reply) => {
	reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'x-request-id': request.id });
	const { 'x-user-id': user, 'x-auth-token': token } = request.headers;
	request.now = Date.now();
	request.caller = user && token && store.authenticate(user, token, request.now);
	if (!request.caller) return write(reply, NOT_LOGGED_IN);
	request.settings = store.settings();
	if (request.settings['rate-limit-calls'] !== '0' && !store.has(request.caller.id, 'api-bypass-rate-limit'))
		return write(reply, TOO_MANY);
});

app.addHook('onResponse', async (request, reply) => {
	const { method, routeOptions } = request;
	request.log.info({ method, route: routeOptions.url, status: reply.statusCode, millis: reply.elapsedTime }, 'answered');
});

app.post('/api/v1/users.resetTOTP', { schema: { response } }, async (request, reply) => {
	const { id, caller, now, settings, body } = request;
	const query = Object.keys(request.query).length > 0;
	const decided = decide(store, { id, caller, now, settings, query, code: request.headers['x-2fa-code'], body });
	request.log.info({ caller: caller.id, action: 'reset-totp', reason: decided.body.errorType }, 'decided');
	return write(reply, decided);
});

await app.listen({ port: Number(port), host: '127.0.0.1' });
