/** The session ends while something is done: it goes on after signing in again, and is not done by anybody else. */
import assert from 'node:assert/strict';
import {
  advance,
  askToReset,
  close,
  code,
  endSession,
  enter,
  kept,
  open,
  play,
  row,
  search,
  see,
  server,
  signIn,
  signInAgain,
} from './browser.mjs';

const { admin, helper } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');
const question = dialog.filter({ hasText: 'Your session has ended' });

await play({
  async 'an administrator is about to reset a member'() {
    await signIn(page, admin, -1);
    await askToReset(page, 'bob');
  },

  async 'the session has ended, which is told and mended in place'() {
    await endSession(page);
    await enter(page, code(admin.key), 'Reset second factor');
    assert.equal(await question.getByLabel('Username or e-mail address').inputValue(), admin.username);
    await signInAgain(question, admin);
    await question.waitFor({ state: 'detached' });
  },

  async 'nothing was changed meanwhile, and a new code resets'() {
    await see(dialog.getByText('Nothing was changed. Enter a new code.'));
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    await close(dialog);
  },

  async 'a list that was asked for comes after signing in again'() {
    await advance(90);
    await endSession(page);
    await search(page, 'ali');
    await signInAgain(question, admin);
    await see(row(page, 'alice'));
  },

  async 'somebody else who signs in goes on with nothing'() {
    await askToReset(page, 'alice');
    await endSession(page);
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await signInAgain(question, helper);
    await dialog.first().waitFor({ state: 'detached' });
    assert.equal((await kept(page)).username, helper.username);
    await see(row(page, 'alice').getByText('Authenticator app'));
  },

  async 'whoever leaves instead is signed out'() {
    await endSession(page);
    await page.getByRole('link', { name: 'Audit' }).click();
    await see(question);
    await page.keyboard.press('Escape');
    await see(page.getByRole('heading', { name: 'Sign in' }));
    assert.equal(await kept(page), null);
    await signInAgain(page, admin, 1);
    await see(page.getByRole('heading', { name: 'Audit', level: 1 }));
  },
});
