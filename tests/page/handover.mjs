/** Two people, one tab: what the first was to be shown the second never sees, and nothing is done in another's name. */
import assert from 'node:assert/strict';
import {
  advance,
  askToReset,
  button,
  code,
  endSession,
  enter,
  go,
  kept,
  open,
  password,
  play,
  see,
  server,
  signIn,
  signInAgain,
} from './browser.mjs';

const { admin, dave, helper } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');

/** What is opened once. */
function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

/** Lets the server do what `route` is asked for, and holds its answer back: `answered` is when it is there. */
async function holdAnswer(route) {
  const [answered, released, done] = [gate(), gate(), gate()];
  await page.route(`**/api/v1/${route}`, async (asked) => {
    const response = await asked.fetch();
    answered.open();
    await released.opened;
    // Who has left does not wait for it.
    await asked.fulfill({ response }).catch(() => {});
    done.open();
  });
  return {
    answered: answered.opened,
    async release() {
      released.open();
      await done.opened;
      await page.unroute(`**/api/v1/${route}`);
    },
  };
}

/** Asks for a key by the password, and reads it. */
async function showKey() {
  await page.getByLabel('Your password').fill(server.password);
  await button(page, 'Continue').click();
  return (await page.locator('.key').textContent()).replaceAll(' ', '');
}

await play({
  async 'a question to which an answer is awaited stays open'() {
    await password(page, dave.username);
    await see(page.getByText('Your account may not do this.'));
    await go(page, 'My second factor');
    const held = await holdAnswer('users.enableTotp');
    await button(page, 'Set up authenticator app').click();
    await held.answered;
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await button(dialog, 'Close').click();
    assert.ok(await dialog.isVisible());
    await held.release();
    await see(dialog.getByLabel('Your password'));
  },

  async 'an answer is shown where its screen was built anew meanwhile'() {
    const key = await showKey();
    const held = await holdAnswer('users.validateTotp');
    await enter(page, code(key), 'Finish');
    await held.answered;
    await page.getByLabel('Language').selectOption('Deutsch');
    await see(page.getByLabel('Code Ihrer Authenticator-App'));
    await held.release();
    await see(page.getByRole('heading', { name: 'Ihre Backup-Codes' }));
    await page.getByLabel('Sprache').selectOption('English');
    await page.getByLabel('I have kept these codes.').check();
    await button(page, 'Done').click();
    await button(page, 'Give up authenticator app').click();
    await enter(page, code(key, 1), 'Give up');
  },

  async 'backup codes that come after signing out are shown to nobody'() {
    await button(page, 'Set up authenticator app').click();
    const key = await showKey();
    const held = await holdAnswer('users.validateTotp');
    await enter(page, code(key), 'Finish');
    await held.answered;
    await button(page, 'Sign out').click();
    await see(page.getByText('You are signed out.'));
    await held.release();
    await signIn(page, helper, -1);
    await go(page, 'My second factor');
    await see(page.getByText('Your authenticator app protects your account.'));
    assert.equal(await page.locator('.codes').count(), 0);
    await button(page, 'Sign out').click();
  },

  async 'what one account has asked for is not asked for in the name of another'() {
    await advance(90);
    await signIn(page, admin, -1);
    await askToReset(page, 'bob');
    const asked = [];
    page.on('request', async (request) => asked.push([request.url(), await request.headerValue('x-user-id')]));
    const [isAnother, isRefused] = [gate(), gate()];
    let ending;
    const withoutSession = async (route) => {
      ending ??= endSession(page);
      await ending;
      await route.continue();
    };
    await page.route('**/api/v1/second-factor.preview?*', withoutSession);
    await page.route('**/api/v1/second-factor.audit?*', async (route) => {
      await isAnother.opened;
      await route.continue();
    });
    page.on('requestfinished', (request) => request.url().includes('.audit?') && isRefused.open());
    await enter(page, code(admin.key), 'Reset second factor');
    await signInAgain(dialog.filter({ hasText: 'Your session has ended' }), helper);
    await dialog.first().waitFor({ state: 'detached' });
    assert.equal((await kept(page)).username, helper.username);
    isAnother.open();
    await isRefused.opened;
    // What would be asked again is asked before the next answer comes.
    await button(page, 'Search').click();
    await see(page.locator('section.list:not([aria-busy])'));
    const audits = asked.filter(([url]) => url.includes('.audit?'));
    assert.deepEqual(
      audits.map(([, user]) => user),
      ['adminId'],
    );
  },
});
