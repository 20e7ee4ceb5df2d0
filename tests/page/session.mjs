/** The session ends while something is done: it goes on after signing in again, and is not done by anybody else. */
import assert from 'node:assert/strict';
import { advance, code, enter, open, password, play, row, see, server, signIn } from './browser.mjs';

const { admin, helper } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');
const question = dialog.filter({ hasText: 'Your session has ended' });

const kept = () => page.evaluate(() => JSON.parse(sessionStorage.getItem('session')));

/** As an operator does who ends sessions. */
async function endSession() {
  const { userId, authToken } = await kept();
  const headers = { 'x-user-id': userId, 'x-auth-token': authToken };
  const answer = await fetch(`${server.url}/api/v1/logout`, { method: 'POST', headers });
  assert.equal(answer.status, 200);
}

await play({
  async 'an administrator is about to reset a member'() {
    await signIn(page, admin, -1);
    await page.getByRole('button', { name: 'Reset the second factor of bob', exact: true }).click();
    await see(dialog.getByText('This will happen'));
  },

  async 'the session has ended, which is told and mended in place'() {
    await endSession();
    await enter(page, code(admin.key), 'Reset second factor');
    await see(question);
    await question.getByLabel('Password', { exact: true }).fill(server.password);
    await question.getByRole('button', { name: 'Sign in' }).click();
    await question.getByLabel('Code of your authenticator app').fill(code(admin.key));
    await question.getByRole('button', { name: 'Sign in' }).click();
    await question.waitFor({ state: 'detached' });
  },

  async 'nothing was changed meanwhile, and a new code resets'() {
    await see(dialog.getByText('Nothing was changed. Enter a new code.'));
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    await dialog.getByRole('button', { name: 'Close' }).last().click();
  },

  async 'a list that was asked for comes after signing in again'() {
    await advance(90);
    await endSession();
    await page.getByLabel('Find a member').fill('ali');
    await page.getByRole('button', { name: 'Search' }).click();
    await see(question);
    await question.getByLabel('Password', { exact: true }).fill(server.password);
    await question.getByRole('button', { name: 'Sign in' }).click();
    await question.getByLabel('Code of your authenticator app').fill(code(admin.key));
    await question.getByRole('button', { name: 'Sign in' }).click();
    await see(row(page, 'alice'));
  },

  async 'somebody else who signs in goes on with nothing'() {
    await page.getByRole('button', { name: 'Reset the second factor of alice', exact: true }).click();
    await see(dialog.getByText('This will happen'));
    await endSession();
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await question.getByLabel('Username or e-mail address').fill(helper.username);
    await question.getByLabel('Password', { exact: true }).fill(server.password);
    await question.getByRole('button', { name: 'Sign in' }).click();
    await question.getByLabel('Code of your authenticator app').fill(code(helper.key));
    await question.getByRole('button', { name: 'Sign in' }).click();
    await dialog.first().waitFor({ state: 'detached' });
    assert.equal((await kept()).username, helper.username);
    await see(row(page, 'alice').getByText('Authenticator app'));
  },

  async 'whoever leaves instead is signed out'() {
    await endSession();
    await page.getByRole('link', { name: 'Audit' }).click();
    await see(question);
    await page.keyboard.press('Escape');
    await see(page.getByRole('heading', { name: 'Sign in' }));
    assert.equal(await kept(), null);
    await password(page, admin.username);
    await enter(page, code(admin.key, 1), 'Sign in');
    await see(page.getByRole('heading', { name: 'Audit', level: 1 }));
  },
});
