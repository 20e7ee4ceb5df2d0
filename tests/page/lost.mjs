/** Answers that never come, though the server may have done what was asked: the page looks, and says what is so. */
import assert from 'node:assert/strict';
import {
  advance,
  askToReset,
  button,
  close,
  code,
  enter,
  go,
  headersOf,
  open,
  password,
  play,
  row,
  see,
  server,
  signIn,
  wish,
  wrongCode,
} from './browser.mjs';

const { admin, dave, helper } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');
let key;

/** The server does what `route` is asked for once, and its answer is lost: `lose` says how. */
async function loseAnswer(route, lose = (asked) => asked.abort()) {
  const once = async (asked) => {
    await asked.fetch();
    await lose(asked);
  };
  await page.route(`**/api/v1/${route}`, once, { times: 1 });
}

/** What a host answers that cannot know whether its store has done it. */
const outcomeUnknown = (asked) =>
  asked.fulfill({
    status: 503,
    headers: { 'x-request-id': 'lost' },
    json: { success: false, error: 'It is not known whether it was done [host-outcome-unknown]', errorType: 'host-outcome-unknown' },
  });

/** The backup codes on the screen are put away. */
async function putAway() {
  await see(page.getByRole('heading', { name: 'Your backup codes' }));
  for (const shown of await page.locator('.codes code').allTextContents()) await wish(`secret ${shown}`);
  await page.getByLabel('I have kept these codes.').check();
  await button(page, 'Done').click();
}

/** Until a key is shown, which is not yet proved. */
async function beginSetUp() {
  await button(page, 'Set up authenticator app').click();
  await page.getByLabel('Your password').fill(server.password);
  await button(page, 'Continue').click();
  key = (await page.locator('.key').textContent()).replaceAll(' ', '');
  await wish(`secret ${key}`);
}

await play({
  async 'a set-up that never arrived can be finished'() {
    await password(page, dave.username);
    await see(page.getByText('Your account may not do this.'));
    await go(page, 'My second factor');
    await beginSetUp();
    await page.route('**/api/v1/users.validateTotp', (asked) => asked.abort(), { times: 1 });
    await enter(page, code(key), 'Finish');
    await see(page.getByText('So far it was not done: nothing has changed.'));
    assert.equal((await page.locator('.key').textContent()).replaceAll(' ', ''), key);
  },

  async 'one whose answer was lost is found out once the network is back; new codes are made'() {
    await loseAnswer('users.validateTotp');
    await page.route('**/api/v1/me', (asked) => asked.abort(), { times: 1 });
    await enter(page, code(key), 'Finish');
    await see(page.getByText('The server cannot be reached.'));
    await button(page, 'Try again').click();
    await see(page.getByText('It is not known whether this was done. This is how it stands now.'));
    await see(page.getByText('Backup codes that were just made cannot be shown any more'));
    await see(page.getByText('12 backup codes are left.'));
    await button(page, 'New backup codes').click();
    await enter(page, code(key, 1), 'Make new codes');
    await putAway();
  },

  async 'so are backup codes whose answer was lost'() {
    await advance(90);
    await loseAnswer('users.regenerateTotpCodes');
    await button(page, 'New backup codes').click();
    await enter(page, code(key), 'Make new codes');
    await see(page.getByText('Backup codes that were just made cannot be shown any more'));
    await button(page, 'New backup codes').click();
    await enter(page, code(key, 1), 'Make new codes');
    await putAway();
    await see(page.getByText('12 backup codes are left.'));
    assert.equal(await page.getByText('It is not known whether this was done.').count(), 0);
  },

  async 'an app that was given up without an answer is seen to be'() {
    await advance(90);
    await loseAnswer('users.disableTotp', outcomeUnknown);
    await button(page, 'Give up authenticator app').click();
    await enter(page, code(key), 'Give up');
    await see(page.getByText('It is not known whether this was done. This is how it stands now.'));
    await see(page.getByText('Your account has no authenticator app yet.'));
    assert.equal(await page.getByText('Backup codes that were just made').count(), 0);
  },

  async 'an answer that is lost on another screen is asked for when one is back'() {
    await advance(90);
    await beginSetUp();
    const lost = new Promise((resolve) => {
      loseAnswer('users.validateTotp', async (asked) => {
        await go(page, 'Mail');
        await asked.abort();
        resolve();
      });
    });
    await enter(page, code(key), 'Finish');
    await lost;
    await go(page, 'My second factor');
    await see(page.getByText('Backup codes that were just made cannot be shown any more'));
    await button(page, 'Sign out').click();
  },

  async 'an unlock whose answer was lost was done, and the list shows it'() {
    const other = await open();
    await password(other, helper.username);
    for (let tries = 0; tries < 5; tries += 1) {
      await enter(other, wrongCode(helper.key), 'Sign in');
      await other.locator('form:not([aria-busy])').waitFor();
    }
    await signIn(page, admin, -1);
    await see(row(page, helper.username).getByText('locked until'));
    await loseAnswer('second-factor.unlock');
    await button(page, 'Unlock helper').click();
    await enter(page, code(admin.key), 'Unlock');
    await see(dialog.getByRole('heading', { name: 'Was it done?' }));
    await button(dialog, 'See what happened').click();
    await see(dialog.getByText('helper can try again.'));
    await close(dialog);
    await see(row(page, helper.username));
    await row(page, helper.username).getByText('locked until').waitFor({ state: 'detached' });
  },

  async 'a host that does not know how its store ended has lost the answer, too'() {
    await loseAnswer('users.resetTOTP', outcomeUnknown);
    await askToReset(page, 'bob');
    await enter(page, code(admin.key, 1), 'Reset second factor');
    await see(dialog.getByRole('heading', { name: 'Was it done?' }));
    await see(dialog.getByText('The server cannot tell whether this was done.'));
    await button(page, 'See what happened').click();
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    await close(dialog);
  },

  async 'a member whom another has reset meanwhile is not said to be reset'() {
    await advance(90);
    await askToReset(page, 'alice');
    const answer = await fetch(`${server.url}/api/v1/users.resetTOTP`, {
      method: 'POST',
      headers: {
        ...(await headersOf(page)),
        'content-type': 'application/json',
        'x-2fa-method': 'totp',
        'x-2fa-code': code(admin.key, -1),
      },
      body: JSON.stringify({ userId: 'aliceId' }),
    });
    assert.equal(answer.status, 200);
    await enter(page, code(admin.key), 'Reset second factor');
    await see(dialog.getByText('alice has no authenticator app. There is nothing to reset.'));
    assert.equal(await page.getByText('The second factor of alice is reset').count(), 0);
    await close(dialog);
    await see(row(page, 'alice').getByText('none'));
  },
});
