/** A member sets up an authenticator app by what its camera sees, signs in with it and with a backup code, and gives it up. */
import assert from 'node:assert/strict';
import jsQR from 'jsqr';
import { URI } from 'otpauth';
import { advance, button, code, enter, go, open, password, play, see, server, wish, wrongCode } from './browser.mjs';

const { dave } = server.people;
const page = await open();
let key;
let backupCodes;

/** What a camera reads from the picture on the screen. */
async function scan(picture) {
  const { data, width, height } = await picture.evaluate(async (image) => {
    await image.decode();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [400, 400];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0, 400, 400);
    const { data } = context.getImageData(0, 0, 400, 400);
    return { data: [...data], width: 400, height: 400 };
  });
  return jsQR(Uint8ClampedArray.from(data), width, height).data;
}

await play({
  async 'a member who may not help others is told so, and led to what concerns them'() {
    await password(page, dave.username);
    await see(page.getByText('Your account may not do this.'));
    await page.getByRole('main').getByRole('link', { name: 'My second factor' }).click();
    await see(page.getByText('Your account has no authenticator app yet.'));
  },

  async 'the password is asked for first, and a wrong one is told'() {
    await button(page, 'Set up authenticator app').click();
    await page.getByLabel('Your password').fill('not the password');
    await button(page, 'Continue').click();
    await see(page.getByText('This password is wrong.'));
    await page.getByLabel('Your password').fill(server.password);
    await button(page, 'Continue').click();
  },

  async 'the picture holds the key that can be typed as well'() {
    const uri = await scan(page.getByRole('img', { name: 'QR code of the key' }));
    key = URI.parse(uri).secret.base32;
    await wish(`secret ${key}`);
    assert.equal((await page.locator('.key').textContent()).replaceAll(' ', ''), key);
  },

  async 'a mistyped code is told, and a right one shows backup codes once'() {
    await enter(page, wrongCode(key), 'Finish');
    await see(page.getByText('This code is wrong, or was used before.'));
    await enter(page, code(key), 'Finish');
    await see(page.getByRole('heading', { name: 'Your backup codes' }));
    backupCodes = await page.locator('.codes code').allTextContents();
    assert.equal(new Set(backupCodes).size, 12);
    for (const backupCode of backupCodes) await wish(`secret ${backupCode}`);
  },

  async 'they stay until they are kept, and are gone then'() {
    assert.ok(await button(page, 'Done').isDisabled());
    await go(page, 'Members');
    await go(page, 'My second factor');
    assert.deepEqual(await page.locator('.codes code').allTextContents(), backupCodes);
    await page.getByLabel('I have kept these codes.').check();
    await button(page, 'Done').click();
    await see(page.getByText('12 backup codes are left.'));
    assert.ok(!(await page.content()).includes(backupCodes[0]));
  },

  async 'the app signs in, and so does a backup code'() {
    await button(page, 'Sign out').click();
    await password(page, dave.username);
    await enter(page, code(key, 1), 'Sign in');
    await see(button(page, 'Sign out'));
    await button(page, 'Sign out').click();
    await password(page, dave.username);
    await button(page, 'Use a backup code').click();
    await page.getByLabel('One of your backup codes').fill(backupCodes[0]);
    await button(page, 'Sign in').click();
    await see(button(page, 'Sign out'));
    await go(page, 'My second factor');
    await see(page.getByText('11 backup codes are left.'));
  },

  async 'new backup codes are made'() {
    await advance(60);
    await button(page, 'New backup codes').click();
    await enter(page, code(key), 'Make new codes');
    await see(page.getByRole('heading', { name: 'Your backup codes' }));
    const renewed = await page.locator('.codes code').allTextContents();
    assert.equal(renewed.filter((known) => backupCodes.includes(known)).length, 0);
    await page.getByLabel('I have kept these codes.').check();
    await button(page, 'Done').click();
  },

  async 'the app is given up'() {
    await button(page, 'Give up authenticator app').click();
    await enter(page, code(key, 1), 'Give up');
    await see(page.getByText('Your account has no authenticator app yet.'));
  },
});
