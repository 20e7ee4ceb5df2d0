/** What an administrator meets at 3 a.m.: the network is away, answers are lost, too many calls, a store that is busy, a lock. */
import assert from 'node:assert/strict';
import {
  advance,
  askToReset,
  button,
  close,
  code,
  enter,
  go,
  open,
  password,
  play,
  row,
  search,
  see,
  server,
  signIn,
  wish,
  wrongCode,
} from './browser.mjs';

const { admin, alice, bob, dave, frank, helper } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');
const RESET = '**/api/v1/users.resetTOTP';

await play({
  async 'the network is away, and is back'() {
    await signIn(page, admin, -1);
    await page.context().setOffline(true);
    await search(page, 'bob');
    await see(page.getByText('The server cannot be reached.'));
    await page.context().setOffline(false);
    await button(page, 'Try again').click();
    await see(row(page, 'bob'));
  },

  async 'a reset that never arrived was not done, and can be done'() {
    await askToReset(page, bob.username);
    await page.context().setOffline(true);
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'Was it done?' }));
    await page.context().setOffline(false);
    await button(page, 'See what happened').click();
    await see(dialog.getByText('So far it was not done: nothing has changed.'));
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    await close(dialog);
  },

  async 'a reset whose answer was lost was done'() {
    await search(page, 'alice');
    await askToReset(page, alice.username);
    await page.route(RESET, async (route) => {
      await route.fetch();
      await route.abort();
    });
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'Was it done?' }));
    await page.unroute(RESET);
    await button(page, 'See what happened').click();
    await see(dialog.getByRole('heading', { name: 'The second factor of alice is reset' }));
    await close(dialog);
  },

  async 'a store that takes no writes is told, and the same reset is done once it does'() {
    await advance(90);
    await search(page, 'frank');
    await askToReset(page, 'frank');
    await wish('hold the store');
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByText('The server cannot write to its store just now.'));
    await wish('release the store');
    await button(page, 'Reset second factor').click();
    await see(dialog.getByRole('heading', { name: 'The second factor of frank is reset' }));
    await close(dialog);
  },

  async 'wrong codes lock, which is told with the time to wait'() {
    const other = await open();
    await password(other, helper.username);
    const wrong = wrongCode(helper.key);
    for (let tries = 0; tries < 5; tries += 1) {
      await enter(other, wrong, 'Sign in');
      await other.locator('form:not([aria-busy])').waitFor();
    }
    await enter(other, code(helper.key), 'Sign in');
    await see(other.getByText('Too many wrong codes. For now even the right one is refused.'));
    await see(other.getByRole('button', { name: /Try again in \d+ seconds/ }));
  },

  async 'who is locked is found, and unlocked by a code'() {
    await go(page, 'Members');
    await page.getByRole('link', { name: 'Locked' }).click();
    await see(row(page, helper.username).getByText('locked until'));
    await row(page, 'alice').waitFor({ state: 'detached' });
    await button(page, 'Unlock helper').click();
    await enter(page, code(admin.key, 1), 'Unlock');
    await see(dialog.getByText('helper can try again.'));
    await close(dialog);
    await see(page.getByText('Nobody is found.'));
  },

  async 'who calls too often is told how long to wait, and may go on then'() {
    await advance(90);
    const other = await open();
    await other.clock.install();
    await signIn(other, helper);
    const refused = other.getByText('That was too often in a short time.');
    for (let tries = 0; tries < 10 && !(await refused.isVisible()); tries += 1) {
      await search(other, `nobody ${tries}`);
      await see(other.getByText('Nobody is found.').or(refused));
      await other.locator('section.list:not([aria-busy])').waitFor();
    }
    await see(refused);
    await see(other.getByRole('button', { name: /Try again in \d+ seconds/ }));
    await advance(61);
    await other.clock.fastForward(61_000);
    await button(other, 'Try again').click();
    await see(other.getByText('Nobody is found.'));
  },

  async 'what cannot be a code is told, and not sent'() {
    const other = await open();
    await password(other, admin.username);
    for (const word of ['１２３４５６', 'пароль', 'größe']) {
      await enter(other, word, 'Sign in');
      await see(other.getByText('A code has only the digits 0 to 9 and the letters A to Z.'));
      await other.getByLabel('Code of your authenticator app').fill('');
      await other.getByText('A code has only').waitFor({ state: 'detached' });
    }
  },

  async 'a password proves nobody where the connection is not encrypted'() {
    const other = await open();
    // As over plain HTTP, where the browser lends no cryptography.
    await other.addInitScript(() => Object.defineProperty(crypto, 'subtle', { value: undefined }));
    await other.reload();
    await password(other, dave.username);
    await see(other.getByText('Your account may not do this.'));
    await go(other, 'My second factor');
    await button(other, 'Set up authenticator app').click();
    for (const word of ['пароль', server.password]) {
      await other.getByLabel('Your password').fill(word);
      await button(other, 'Continue').click();
      await see(other.getByText('This connection is not encrypted.'));
      await other.getByLabel('Your password').fill('');
      await other.getByText('This connection is not encrypted.').waitFor({ state: 'detached' });
    }
  },

  async 'a code that could not be sent is not said to be sent'() {
    const other = await open();
    await other.route('**/api/v1/login', async (route) => {
      const response = await route.fetch();
      const answer = await response.json();
      assert.equal(answer.details.codeGenerated, true);
      // As where the last address was taken away just then.
      await route.fulfill({ response, json: { ...answer, details: { ...answer.details, codeGenerated: false } } });
    });
    // Whose app was reset.
    await password(other, frank.username);
    await see(other.getByText('No code could be sent.'));
    assert.equal(await other.getByText('A code was sent').count(), 0);
  },
});
