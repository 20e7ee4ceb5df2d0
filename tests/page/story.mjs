/** Somebody who has never seen the page helps a member who has lost the phone. */
import assert from 'node:assert/strict';
import {
  button,
  code,
  enter,
  go,
  headersOf,
  open,
  password,
  play,
  row,
  search,
  see,
  server,
  wrongCode,
} from './browser.mjs';

const { admin, bob } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');

await play({
  async 'signing in is asked for, and a wrong password is told'() {
    await see(page.getByRole('heading', { name: 'Sign in' }));
    await password(page, admin.username, 'not the password');
    await see(page.getByText('Name or password is wrong.'));
  },

  async 'the second factor is asked for, mistyped once, and then right'() {
    await password(page, admin.username);
    await see(page.getByText('One more step: your second factor.'));
    await enter(page, wrongCode(admin.key), 'Sign in');
    await see(page.getByText('This code is wrong, or was used before.'));
    await enter(page, code(admin.key, -1), 'Sign in');
    await see(page.getByRole('heading', { name: 'Members' }));
  },

  async 'a member is found by a part of the name'() {
    await see(row(page, 'alice'));
    await search(page, 'BO');
    await see(row(page, bob.username));
    await row(page, 'alice').waitFor({ state: 'detached' });
    await see(row(page, bob.username).getByText('2 backup codes left'));
  },

  async 'what will happen is shown before it does'() {
    await button(page, 'Reset the second factor of bob').click();
    await see(dialog.getByRole('heading', { name: 'Reset the second factor of bob?' }));
    await see(dialog.getByText('The authenticator app no longer counts.'));
    await see(dialog.getByText('The 2 backup codes no longer count.'));
    await see(dialog.getByText('1 session ends.'));
    await see(dialog.getByText('2 e-mails tell of it:'));
    // It may be of either language, and nobody has said which.
    assert.equal(await dialog.locator('[lang]').count(), 0);
    for (const address of ['bob@example.com', 'bob@work.example.com'])
      await see(dialog.getByText(address, { exact: true }));
    await see(dialog.getByText('First make sure, by voice or in person, that it is really bob who asks.'));
  },

  async 'a mistyped code changes nothing; a right one resets'() {
    await enter(page, wrongCode(admin.key), 'Reset second factor');
    await see(dialog.getByText('This code is wrong, or was used before.'));
    await enter(page, code(admin.key, -1), 'Reset second factor');
    await see(dialog.getByText('This code is wrong, or was used before.'));
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    await see(dialog.getByText('Authenticator app and backup codes are removed.'));
    await see(dialog.getByText('1 session has ended.'));
    await see(dialog.getByText('2 e-mails about it are on their way.'));
  },

  async 'the audit tells of it, by whom it was done and how it was proved'() {
    await dialog.getByRole('link', { name: 'See it in the audit' }).click();
    await see(page.getByRole('heading', { name: 'Audit', level: 1 }));
    const record = page.getByRole('row').filter({ hasText: 'Reset of a second factor' });
    await see(record.filter({ hasText: 'admin' }).filter({ hasText: 'bob' }));
    await record.first().locator('summary').click();
    await see(record.first().getByText('authenticator app'));
  },

  async 'the mail that waits tells both addresses'() {
    await go(page, 'Mail');
    await see(page.getByRole('heading', { name: 'Mail', level: 1 }));
    for (const address of ['bob@example.com', 'bob@work.example.com']) await see(row(page, address));
    assert.equal(await page.getByText('Two Factor TOTP Reset Notification').count(), 2);
    assert.equal(await page.getByRole('main').locator('[lang]').count(), 0);
  },

  async 'the member has no second factor any more, and nothing to reset'() {
    await go(page, 'Members');
    await see(row(page, bob.username).getByText('none'));
    await button(page, 'Reset the second factor of bob').click();
    await see(dialog.getByText('There is nothing to reset.'));
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  },

  async 'signing out ends the session here and at the server'() {
    const headers = await headersOf(page);
    await button(page, 'Sign out').click();
    await see(page.getByText('You are signed out.'));
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    const answer = await fetch(`${server.url}/api/v1/me`, { headers });
    assert.equal(answer.status, 401);
  },
});
