/** Every screen of the page, one after the other, as the cast of the tests fills them. */
import { advance, code, enter, password, row, see, server, signIn, wrongCode } from './browser.mjs';

const { admin, dave, moderator } = server.people;

/** Wrong codes until a second factor is locked. */
const TRIES = 6;

/** Each walk has another member to reset. */
const members = ['bob', 'frank', 'alice', 'helper'];
let walks = 0;

/** Guesses at a member's second factor until it is locked, from elsewhere. */
async function lock(person) {
  walks += 1;
  for (let tries = 0; tries < TRIES; tries += 1) {
    await fetch(`${server.url}/api/v1/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': `198.51.100.${walks}` },
      body: JSON.stringify({ user: person.username, password: server.password, code: wrongCode(person.key) }),
    });
  }
}

/** Goes through all screens of a fresh tab, and has each looked at by its name. */
export async function walk(page, look) {
  const dialog = page.getByRole('dialog');
  const go = (name) => page.getByRole('navigation').getByRole('link', { name }).click();
  const target = members[walks];
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
  await look('members');
  await page.getByRole('button', { name: `Reset the second factor of ${target}`, exact: true }).click();
  await see(dialog.locator('.consequences'));
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
  await go('Mail');
  await see(row(page, `${target}@example.com`));
  await look('mail');
  await go('My second factor');
  await see(page.locator('.state'));
  await look('own');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await password(page, dave.username);
  await see(page.locator('.notice.bad'));
  await look('not-allowed');
  await go('My second factor');
  await page.getByRole('button', { name: 'Set up authenticator app' }).click();
  await see(page.getByLabel('Your password'));
  await look('own-password');
  await page.getByLabel('Your password').fill(server.password);
  await page.getByRole('button', { name: 'Continue' }).click();
  await see(page.getByRole('img', { name: 'QR code of the key' }));
  await look('enrolment');
  const key = (await page.locator('.key').textContent()).replaceAll(' ', '');
  await enter(page, code(key), 'Finish');
  await see(page.locator('.codes'));
  await look('backup-codes');
  await page.getByLabel('I have kept these codes.').check();
  await page.getByRole('button', { name: 'Done', exact: true }).click();
  await see(page.getByRole('button', { name: 'Give up authenticator app' }));
  await page.getByRole('button', { name: 'Give up authenticator app' }).click();
  await look('give-up');
  await enter(page, code(key, 1), 'Give up');
  await see(page.getByRole('button', { name: 'Set up authenticator app' }));
  await advance(120);
}
