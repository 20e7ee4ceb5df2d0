/** Every screen of the page, one after the other, as the cast of the tests fills them. */
import assert from 'node:assert/strict';
import { advance, askToReset, button, code, enter, go, password, row, see, server, wrongCode } from './browser.mjs';

const { admin, dave, moderator } = server.people;

/** Wrong codes until a second factor is locked, and one more. */
const TRIES = 6;

/** Each walk has another member to reset. */
const members = ['bob', 'frank'];
let walks = 0;

/** Guesses at a member's second factor until it is locked, from elsewhere. */
async function lock(person) {
  const answers = [];
  for (let tries = 0; tries < TRIES; tries += 1) {
    const answer = await fetch(`${server.url}/api/v1/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': `198.51.100.${walks}` },
      body: JSON.stringify({ user: person.username, password: server.password, code: wrongCode(person.key) }),
    });
    answers.push((await answer.json()).error);
  }
  assert.equal(answers.at(-1), 'totp-max-attempts');
}

/** Goes through all screens of a fresh tab, and has each looked at by its name. */
export async function walk(page, look) {
  const dialog = page.getByRole('dialog');
  const target = members[walks];
  walks += 1;
  await lock(moderator);
  await see(page.getByRole('heading', { level: 1 }));
  await look('sign-in');
  await password(page, admin.username, 'not the password');
  await see(page.locator('.wrong:not(:empty)'));
  await look('wrong-password');
  await password(page, admin.username);
  await see(page.locator('input.code'));
  await look('code');
  await enter(page, code(admin.key, -1), 'Sign in');
  await see(row(page, target));
  await see(row(page, moderator.username).getByText('locked until'));
  await look('members');
  await askToReset(page, target);
  await look('preview');
  await enter(page, wrongCode(admin.key), 'Reset second factor');
  await see(dialog.locator('.wrong:not(:empty)'));
  await look('preview-wrong');
  await enter(page, code(admin.key), 'Reset second factor');
  await see(dialog.locator('.notice.good'));
  await look('done');
  await dialog.getByRole('link', { name: 'See it in the audit' }).click();
  await page.locator('summary').first().click();
  await look('audit');
  await go(page, 'Mail');
  await see(row(page, `${target}@example.com`));
  await look('mail');
  await go(page, 'My second factor');
  await see(page.locator('.state'));
  await look('own');
  await button(page, 'Sign out').click();
  await password(page, dave.username);
  await see(page.locator('.notice.bad'));
  await look('not-allowed');
  await go(page, 'My second factor');
  await button(page, 'Set up authenticator app').click();
  await see(page.getByLabel('Your password'));
  await look('own-password');
  await page.getByLabel('Your password').fill(server.password);
  await button(page, 'Continue').click();
  await see(page.getByRole('img', { name: 'QR code of the key' }));
  await look('enrolment');
  const key = (await page.locator('.key').textContent()).replaceAll(' ', '');
  await enter(page, code(key), 'Finish');
  await see(page.locator('.codes'));
  await look('backup-codes');
  await page.getByLabel('I have kept these codes.').check();
  await button(page, 'Done').click();
  await see(button(page, 'Give up authenticator app'));
  await button(page, 'Give up authenticator app').click();
  await look('give-up');
  await enter(page, code(key, 1), 'Give up');
  await see(button(page, 'Set up authenticator app'));
  await advance(120);
}
