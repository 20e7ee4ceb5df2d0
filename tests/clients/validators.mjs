/**
 * Rocket.Chat's own response validators, run over the bodies of refusals.
 *
 * Input: JSON lines on standard input, each `{"route":"…","status":400,"body":{…}}`.
 * Output: `N bodies validated`; or, on standard error, each body that does not pass and why.
 * Exit: 0 every body passed; 1 one did not, its status has no validator, a line is not JSON, or there was no line.
 */
import { register } from 'node:module';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';

// The package is published for bundlers: it names this file without the extension that Node asks for.
const resolve = `export const resolve = (name, context, next) =>
  next(name === 'ajv/dist/2020' ? 'ajv/dist/2020.js' : name, context);`;
register(`data:text/javascript,${encodeURIComponent(resolve)}`);
const rocketChat = await import('@rocket.chat/rest-typings/dist/v1/Ajv.js');

const validators = {
  400: rocketChat.validateBadRequestErrorResponse,
  401: rocketChat.validateUnauthorizedErrorResponse,
  403: rocketChat.validateForbiddenErrorResponse,
  404: rocketChat.validateNotFoundErrorResponse,
  500: rocketChat.validateInternalErrorResponse,
};

/** Why the body does not pass, or nothing. */
function complaint({ status, body }) {
  const validate = validators[status];
  if (!validate) return 'there is no validator for this status';
  // Rocket.Chat's ajv repairs types in place ("false" becomes false): a body that needs it is not what it should be.
  const repaired = structuredClone(body);
  if (!validate(repaired)) {
    return validate.errors.map(({ instancePath, message, params }) =>
      `body${instancePath} ${message} ${JSON.stringify(params)}`).join('; ');
  }
  if (!isDeepStrictEqual(repaired, body)) return `passes only as ${JSON.stringify(repaired)}`;
}

let count = 0;
const complaints = [];
for await (const line of createInterface({ input: process.stdin })) {
  count += 1;
  try {
    const answer = JSON.parse(line);
    const why = complaint(answer);
    if (why) complaints.push(`${answer.route} ${answer.status}: ${why}`);
  } catch (error) {
    complaints.push(`line ${count}: ${error.message}`);
  }
}
if (count === 0) complaints.push('no bodies to validate');

for (const why of complaints) console.error(why);
if (complaints.length === 0) console.log(`${count} bodies validated`);
process.exitCode = complaints.length === 0 ? 0 : 1;
