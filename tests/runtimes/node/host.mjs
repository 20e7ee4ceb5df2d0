// A chat server in Node.js: POST /api/v1/users.resetTOTP, decided by the plugin in a fresh sandbox a request.
//
//     npm install @bytecodealliance/jco-transpile@0.15.0
//     node host.mjs reset_totp.wasm accounts.json

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { transpileBytes } from '@bytecodealliance/jco-transpile';
import { Accounts, Call } from './accounts.mjs';

const HANDLER = 'chat:reset-totp/handler@0.1.0';
const [MOST_BODY, MOST_HEADER] = [64 * 1024, 256]; // bytes, as wit/handler.wit says

/** Compiled once. A call is an instance of its own, which is lent that call's imports and no more. */
class Plugin {
  static async load(path, call) {
    const plugin = new Plugin();
    const component = await readFile(path);
    plugin.digest = createHash('sha256').update(component).digest('hex');
    const options = { name: 'plugin', instantiation: 'sync', wasiShim: false, emitTypescriptDeclarations: false };
    const { files } = await transpileBytes(component, options);
    plugin.modules = new Map();
    for (const [name, bytes] of Object.entries(files)) {
      if (name.endsWith('.wasm')) plugin.modules.set(name, await WebAssembly.compile(bytes));
    }
    const program = Buffer.from(files['plugin.js']).toString('base64');
    plugin.program = await import(`data:text/javascript;base64,${program}`);
    plugin.instance(call.imports()); // what is not lent is found now, not by a request
    return plugin;
  }

  instance(imports) {
    const exported = this.program.instantiate((name) => this.modules.get(name), imports)[HANDLER];
    if (!exported) throw new TypeError(`it does not export ${HANDLER}`);
    return exported;
  }

  /**
   * An instance cannot wait, but it can run again: what it has to wait for ends it, and once that is there another
   * runs, which is given the same answers to the same questions. Nothing is asked twice.
   */
  async decide(call, request) {
    const answers = [];
    for (;;) {
      let asked = 0;
      let waited;
      const lend = ([name, lent]) => {
        const ask = (...given) => {
          if (asked === answers.length) {
            const value = lent(...given);
            if (value instanceof Promise) {
              waited = { name, given, value };
              throw new Error('it waits');
            }
            answers.push({ name, given, value });
          }
          const answer = answers[asked];
          asked += 1;
          if (answer.name !== name || !isDeepStrictEqual(answer.given, given)) throw new Error('it asks otherwise');
          if ('refusal' in answer) throw answer.refusal;
          return answer.value;
        };
        return [name, ask];
      };
      const mapped = (object, change) => Object.fromEntries(Object.entries(object).map(change));
      const imports = mapped(call.imports(), ([name, functions]) => [name, mapped(functions, lend)]);
      try {
        const caller = { id: call.caller.id, bypassToken: false };
        return this.instance(imports).resetTotp(caller, request);
      } catch (error) {
        if (!waited) throw new Fault('the plugin failed', { cause: error });
      }
      const { name, given, value } = waited;
      try {
        answers.push({ name, given, value: await value });
      } catch (refusal) {
        if (refusal instanceof Error) throw refusal;
        answers.push({ name, given, refusal });
      }
    }
  }

  /** Status and body. What fails means no, unless the reset was done: what is done is answered as done. */
  async answer(call, request) {
    let answer;
    try {
      answer = await this.decide(call, request);
    } catch (error) {
      if (!(error instanceof Fault || call.done)) throw error;
    }
    await call.end();
    if (answer?.status === (call.done ? 200 : 400)) return [answer.status, answer.body];
    return call.done ? [200, '{"success":true}'] : [502, failure('The plugin failed')];
  }
}

/** A failure of the plugin's. */
class Fault extends Error {}

async function answerTo(request) {
  if (request.method !== 'POST' || request.url !== '/api/v1/users.resetTOTP') return [404, failure('Not found')];
  const body = [];
  for await (const piece of request) {
    body.push(piece);
    if (body.reduce((sum, { length }) => sum + length, 0) > MOST_BODY) return [413, failure('The body is too long')];
  }
  const text = new TextDecoder('utf-8', { fatal: true });
  const header = (name) => {
    const [value, ...more] = (request.headersDistinct[name] ?? []).map((value) => Buffer.from(value, 'latin1'));
    if (more.length > 0 || value?.length > MOST_HEADER) throw new TypeError(name);
    return value && text.decode(value);
  };
  let sent;
  try {
    const names = ['x-user-id', 'x-auth-token', 'content-type', 'x-2fa-code', 'x-2fa-method'];
    sent = names.map(header);
  } catch {
    return [400, failure('A header is repeated, too long or no text')];
  }
  const [id, token, contentType, twoFactorCode, twoFactorMethod] = sent;
  const caller = await accounts.loggedIn(id, token);
  if (!caller) return [401, '{"status":"error","message":"You must be logged in to do this."}'];
  const asked = { contentType, twoFactorCode, twoFactorMethod, body: Buffer.concat(body) };
  return plugin.answer(new Call(accounts, caller, twoFactorCode), asked);
}

function failure(error) {
  return JSON.stringify({ success: false, error });
}

const [path, file, port = '3000'] = process.argv.slice(2);
const accounts = new Accounts(JSON.parse(await readFile(file)));
const plugin = await Plugin.load(path, new Call(accounts)).catch(({ message }) => {
  console.error(`${path} cannot be served: ${message}`);
  process.exit(1);
});
const server = createServer(async (request, response) => {
  const [status, body] = await answerTo(request).catch(() => [503, failure('The store is not available')]);
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);
});
server.listen(Number(port), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port} serves sha256:${plugin.digest}`);
});
