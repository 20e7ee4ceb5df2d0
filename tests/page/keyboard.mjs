/** Everything can be done without a mouse: the focus is where one goes on, and comes back to where it was. */
import assert from 'node:assert/strict';
import { code, open, play, row, see, server, wrongCode } from './browser.mjs';

/** Keys that it may take to get anywhere on a screen. */
const FAR = 120;

const { admin } = server.people;
const page = await open();
const dialog = page.getByRole('dialog');

/** What has the focus, as a screen reader would name it. */
const focused = () =>
  page.evaluate(() => {
    const element = document.activeElement;
    return element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent;
  });

/** Presses Tab, or what goes the other way, until the focus is on what has this name. */
async function tabTo(name, key = 'Tab') {
  const passed = [];
  for (let presses = 0; presses < FAR; presses += 1) {
    const now = await focused();
    if (now === name) return;
    passed.push(now);
    await page.keyboard.press(key);
  }
  assert.fail(`Tab never came to ${name}: ${passed.join(' | ')}`);
}

const type = (text) => page.keyboard.type(text);
const press = (key) => page.keyboard.press(key);

await play({
  async 'signs in; the focus is on the first field, and on the code when that is asked for'() {
    await see(page.getByRole('heading', { name: 'Sign in' }));
    assert.equal(await focused(), 'Username or e-mail address');
    await type(admin.username);
    await press('Tab');
    await type(server.password);
    await press('Enter');
    await see(page.getByLabel('Code of your authenticator app'));
    assert.equal(await focused(), 'Code of your authenticator app');
    await type(wrongCode(admin.key));
    await press('Enter');
    await see(page.getByText('This code is wrong, or was used before.'));
    assert.equal(await focused(), 'Code of your authenticator app');
    await type(code(admin.key, -1));
    await press('Enter');
    await see(page.getByRole('heading', { name: 'Members' }));
    assert.equal(await focused(), 'Members');
  },

  async 'skips to the content'() {
    await tabTo('Skip to the content', 'Shift+Tab');
    await press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'content');
  },

  async 'finds a member, and looks at what would happen'() {
    await tabTo('Find a member');
    await type('bob');
    await press('Enter');
    await row(page, 'alice').waitFor({ state: 'detached' });
    await tabTo('Reset the second factor of bob');
    await press('Enter');
    await see(dialog.getByText('This will happen'));
    assert.equal(await focused(), 'Reset the second factor of bob?');
  },

  async 'leaves by Escape, and is back where it was'() {
    await press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.equal(await focused(), 'Reset the second factor of bob');
  },

  async 'resets; the focus never leaves the question'() {
    await press('Enter');
    await see(dialog.getByText('This will happen'));
    await tabTo('Code of your authenticator app');
    await type(code(admin.key));
    await press('Enter');
    await see(dialog.getByRole('heading', { name: 'The second factor of bob is reset' }));
    assert.equal(await focused(), 'The second factor of bob is reset');
    await tabTo('Close');
    await press('Enter');
    await dialog.waitFor({ state: 'detached' });
    await see(row(page, 'bob').getByText('none'));
    assert.equal(await focused(), 'Reset the second factor of bob');
  },

  async 'goes to another screen, reads a record, and signs out'() {
    await tabTo('Audit');
    await press('Enter');
    await see(page.getByRole('heading', { name: 'Audit', level: 1 }));
    assert.equal(await focused(), 'Audit');
    await see(page.locator('summary'));
    const first = await page.locator('summary').first().textContent();
    await tabTo(first);
    await press('Enter');
    await see(page.locator('details[open]'));
    await tabTo('Sign out');
    await press('Enter');
    await see(page.getByText('You are signed out.'));
    assert.equal(await focused(), 'Username or e-mail address');
  },
});
