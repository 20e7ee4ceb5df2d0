/** What an administrator meets at 3 a.m.: the network is away, answers are lost, too many calls, a store that is busy, a lock. */
import { advance, code, enter, open, password, play, row, see, server, signIn, wish, wrongCode } from './browser.mjs';

const { admin, alice, bob, helper } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');
const button = (name) => page.getByRole('button', { name, exact: true });
const RESET = '**/api/v1/users.resetTOTP';

async function search(words) {
  await page.getByLabel('Find a member').fill(words);
  await button('Search').click();
}

async function resetOf(username) {
  await button(`Reset the second factor of ${username}`).click();
  await see(dialog.getByText('This will happen'));
}

await play({
  async 'the network is away, and is back'() {
    await signIn(page, admin, -1);
    await page.context().setOffline(true);
    await search('bob');
    await see(page.getByText('The server cannot be reached.'));
    await page.context().setOffline(false);
    await button('Try again').click();
    await see(row(page, 'bob'));
  },

  async 'a reset that never arrived was not done, and can be done'() {
    await resetOf(bob.username);
    await page.context().setOffline(true);
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'Was it done?' }));
    await page.context().setOffline(false);
    await button('See what happened').click();
    await see(dialog.getByText('It was not done. Nothing was changed.'));
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    await dialog.getByRole('button', { name: 'Close' }).last().click();
  },

  async 'a reset whose answer was lost was done'() {
    await search('alice');
    await resetOf(alice.username);
    await page.route(RESET, async (route) => {
      await route.fetch();
      await route.abort();
    });
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'Was it done?' }));
    await page.unroute(RESET);
    await button('See what happened').click();
    await see(dialog.getByRole('heading', { name: 'The second factor of alice is reset' }));
    await dialog.getByRole('button', { name: 'Close' }).last().click();
  },

  async 'a store that takes no writes is told, and the same reset is done once it does'() {
    await advance(90);
    await search('frank');
    await resetOf('frank');
    await wish('hold the store');
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByText('The server cannot write to its store just now.'));
    await wish('release the store');
    await button('Reset second factor').click();
    await see(dialog.getByRole('heading', { name: 'The second factor of frank is reset' }));
    await dialog.getByRole('button', { name: 'Close' }).last().click();
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
    await page.getByRole('link', { name: 'Members' }).click();
    await page.getByRole('link', { name: 'Locked' }).click();
    await see(row(page, helper.username).getByText('locked until'));
    await row(page, 'alice').waitFor({ state: 'detached' });
    await button('Unlock helper').click();
    await enter(page, code(admin.key, 1), 'Unlock');
    await see(dialog.getByText('helper can try again.'));
    await dialog.getByRole('button', { name: 'Close' }).last().click();
    await see(page.getByText('Nobody is found.'));
  },

  async 'who calls too often is told how long to wait, and may go on then'() {
    await advance(90);
    const other = await open();
    await other.clock.install();
    await signIn(other, helper);
    const find = async (words) => {
      await other.getByLabel('Find a member').fill(words);
      await other.getByRole('button', { name: 'Search' }).click();
    };
    const refused = other.getByText('That was too often in a short time.');
    for (let tries = 0; tries < 10 && !(await refused.isVisible()); tries += 1) {
      await find(`nobody ${tries}`);
      await see(other.getByText('Nobody is found.').or(refused));
      await other.locator('section.list:not([aria-busy])').waitFor();
    }
    await see(refused);
    await see(other.getByRole('button', { name: /Try again in \d+ seconds/ }));
    await advance(61);
    await other.clock.fastForward(61_000);
    await other.getByRole('button', { name: 'Try again', exact: true }).click();
    await see(other.getByText('Nobody is found.'));
  },
});
