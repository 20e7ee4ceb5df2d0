/**
 * A browser on the administrators' page, and what must hold however it is used: nothing breaks the page's own policy, no
 * error is met by its scripts, nothing is asked of another origin.
 *
 * Each program here plays one story. Input: one line of JSON on standard input,
 * `{"url":"http://127.0.0.1:PORT","now":<Unix time in ms at which the server's clock stands>,"password":"…",
 * "people":{"admin":{"username","key" (base32)},…}}`, and a line for each wish. Output: a line for each step that holds, and
 * `@WISH` for what only the server's side can do. Exit: 0 every step held; 1 one did not, and standard error says which.
 */
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import axe from 'axe-core';
import { Secret, TOTP } from 'otpauth';
import { chromium } from 'playwright-core';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const line = async () => (await lines.next()).value;

/** What the server is like. */
export const server = JSON.parse(await line());

let now = server.now;

/** Has the server's side do something, and waits until it is done. */
export async function wish(what) {
  console.log(`@${what}`);
  assert.equal(await line(), 'done');
}

/** Puts the server's clock forward. */
export async function advance(seconds) {
  await wish(`advance ${seconds}`);
  now += seconds * 1000;
}

/** The code that `key` has, `steps` time steps from now. A code is accepted once, and none before it. */
export function code(key, steps = 0) {
  return new TOTP({ secret: Secret.fromBase32(key) }).generate({ timestamp: now + steps * 30_000 });
}

/** Six digits that no code of the next minutes is. */
export function wrongCode(key) {
  const right = [-1, 0, 1, 2, 3, 4].map((steps) => code(key, steps));
  return ['000000', '000001', '000002', '000003', '000004', '000005', '000006'].find(
    (digits) => !right.includes(digits),
  );
}

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});

/** What was met that nobody should meet. */
const faults = [];

/** A tab of its own, as another person's. Options are Playwright's. */
export async function open(options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'UTC', ...options });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy ${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`);
    });
  });
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(`error ${error.stack}`));
  page.on('console', (message) => {
    // A refusal is an answer like any other; the browser tells of each.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      faults.push(message.text());
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== server.url) faults.push(`a request to ${url.origin}`);
  });
  await page.goto(`${server.url}/admin/`);
  return page;
}

/** Fills the form to sign in, and sends it. */
export async function password(page, username, word = server.password) {
  await page.getByLabel('Username or e-mail address').fill(username);
  await page.getByLabel('Password', { exact: true }).fill(word);
  await button(page, 'Sign in').click();
}

/** The button of this name. */
export const button = (page, name) => page.getByRole('button', { name, exact: true });

/** Enters a second factor, and sends it by the button of this name. */
export async function enter(page, digits, sender) {
  await page.getByLabel('Code of your authenticator app').fill(digits);
  await button(page, sender).click();
}

/** Signs in with the code `steps` time steps from now. */
export async function signIn(page, person, steps = 0) {
  await password(page, person.username);
  await enter(page, code(person.key, steps), 'Sign in');
  await see(page.getByRole('heading', { name: 'Members', level: 1 }));
}

/** Signs in where the session has ended: `question` is the dialog that asks for it. */
export async function signInAgain(question, person, steps = 0) {
  await password(question, person.username);
  await enter(question, code(person.key, steps), 'Sign in');
}

/** Who is signed in, as the tab keeps it; `null` of nobody. */
export const kept = (page) => page.evaluate(() => JSON.parse(sessionStorage.getItem('session')));

/** What a request of who is signed in says of itself. */
export async function headersOf(page) {
  const { userId, authToken } = await kept(page);
  return { 'x-user-id': userId, 'x-auth-token': authToken };
}

/** Ends the session at the server, as an operator does. */
export async function endSession(page) {
  const answer = await fetch(`${server.url}/api/v1/logout`, { method: 'POST', headers: await headersOf(page) });
  assert.equal(answer.status, 200);
}

/** Goes to a screen. */
export const go = (page, name) => page.getByRole('navigation').getByRole('link', { name, exact: true }).click();

/** Looks for members by a part of the name. */
export async function search(page, words) {
  await page.getByLabel('Find a member').fill(words);
  await button(page, 'Search').click();
}

/** Opens the question whether a member is to be reset. */
export async function askToReset(page, username) {
  await button(page, `Reset the second factor of ${username}`).click();
  await see(page.getByRole('dialog').getByText('This will happen'));
}

/** Closes a dialog by the button at its end. */
export const close = (dialog) => button(dialog, 'Close').last().click();

/** Waits until it is seen. */
export async function see(locator) {
  await locator.first().waitFor();
}

/** The row of a table that is about somebody. */
export const row = (page, name) => page.getByRole('row').filter({ has: page.getByRole('rowheader', { name }) });

/** What is wrong with the page as it is now for whoever cannot see it, or not well. */
export async function flaws(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
}

/** Plays the steps one after the other. */
export async function play(steps) {
  let playing;
  try {
    for (const [step, holds] of Object.entries(steps)) {
      playing = step;
      await holds();
      assert.deepEqual(faults, []);
      console.log(step);
    }
  } catch (reason) {
    console.error(`${playing}: ${reason.stack}`);
    process.exitCode = 1;
  }
  await browser.close();
  process.stdin.destroy();
}
