/**
 * Every screen, light and dark, on a desk and on a phone: axe finds nothing, nothing is wider than the window, and every word
 * comes from the texts. In German, which has longer words, so much is said of the four screens and of a preview.
 *
 * Where the variable SCREENSHOTS names a folder, some screens are pictured there.
 */
import assert from 'node:assert/strict';
import { advance, button, flaws, go, open, play, row, search, see, server, signIn } from './browser.mjs';
import { walk } from './screens.mjs';

/** What is pictured. */
const PICTURES = ['members', 'preview', 'audit', 'enrolment'];

const PHONE = { width: 360, height: 740 };
const DESK = { width: 1000, height: 720 };

/** Stands before and after what comes from the texts; it is not seen, and not found when a text is looked for. */
const MARK = '\u200b';

/** Marks all texts, but for the places in them. */
async function mark(page) {
  await page.route('**/texts/*.json', async (route) => {
    const response = await route.fetch();
    const marked = Object.entries(await response.json()).map(([key, text]) => [
      key,
      text.replaceAll(/(^|\})([^{]+)/g, `$1${MARK}$2${MARK}`),
    ]);
    await route.fulfill({ response, json: Object.fromEntries(marked) });
  });
  await page.reload();
}

/** What is written on the page, or said of it, and is neither a text nor data. */
const unmarked = (page) =>
  page.evaluate((mark) => {
    const found = [];
    const isWord = (text) => /\p{L}/u.test(text) && !text.includes(mark);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { data, parentElement } = texts.currentNode;
      if (isWord(data) && !parentElement.closest('[translate=no], time')) found.push(data);
    }
    for (const element of document.querySelectorAll('[aria-label], [alt], [placeholder], [title]:not(time)')) {
      for (const name of ['aria-label', 'alt', 'placeholder', 'title']) {
        const value = element.getAttribute(name);
        if (value && isWord(value)) found.push(`${name}: ${value}`);
      }
    }
    if (isWord(document.title)) found.push(document.title);
    return found;
  }, MARK);

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

/** On a phone and on a desk, and left on the desk. */
async function check(page, name) {
  for (const size of [PHONE, DESK]) {
    await page.setViewportSize(size);
    assert.deepEqual(await flaws(page), [], `${name}, ${size.width} pixels wide`);
    assert.ok((await overflow(page)) <= 0, `${name} is wider than ${size.width} pixels`);
  }
}

async function looked(colorScheme) {
  const page = await open({ colorScheme, viewport: DESK });
  await mark(page);
  await walk(page, async (name) => {
    const folder = process.env.SCREENSHOTS;
    if (folder && PICTURES.includes(name))
      await page.screenshot({ path: `${folder}/administrators-page-${name}-${colorScheme}.png` });
    assert.deepEqual(await unmarked(page), [], name);
    await check(page, name);
  });
  await page.context().close();
}

await play({
  async light() {
    await looked('light');
  },

  async dark() {
    await looked('dark');
  },

  async 'in German, light and dark; and English once it is chosen'() {
    const page = await open({ locale: 'de-CH', viewport: DESK });
    const say = (words) => see(page.getByText(words));
    await say('Benutzername oder E-Mail-Adresse');
    await page.getByLabel('Sprache').selectOption('English');
    await say('Username or e-mail address');
    await page.reload();
    await say('Username or e-mail address');
    await signIn(page, server.people.admin);
    await page.getByLabel('Language').selectOption('Deutsch');
    await page.locator('html[lang=de]').waitFor({ state: 'attached' });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const screen of ['Mein zweiter Faktor', 'E-Mails', 'Protokoll', 'Mitglieder']) {
        await go(page, screen);
        await see(page.getByRole('heading', { name: screen }));
        await page.locator('main :is(table, .card)').first().waitFor();
        await check(page, screen);
      }
      await see(row(page, 'alice'));
      await button(page, 'Zweiten Faktor von admin zurücksetzen').click();
      await say('Das ist Ihr eigenes Konto: auch Sie werden abgemeldet.');
      await check(page, 'preview');
      await button(page, 'Abbrechen').click();
    }
  },

  async 'a list of more than a page is read page by page'() {
    await advance(60);
    const page = await open();
    await signIn(page, server.people.admin);
    await search(page, 'visitor');
    const names = () => page.getByRole('rowheader').locator('strong').allTextContents();
    const seen = [];
    const pages = page.getByRole('navigation', { name: 'Pages' });
    for (const number of [1, 2, 3]) {
      await see(pages.getByText(`Page ${number}`));
      await see(row(page, `visitor-${(number - 1) * 25 + 1}`.replace(/-(\d)$/, '-0$1')));
      seen.push(...(await names()));
      if (number < 3) await button(pages, 'Next').click();
    }
    assert.equal(new Set(seen).size, 60);
    assert.ok(await button(pages, 'Next').isDisabled());
    await button(pages, 'Back').click();
    await see(row(page, 'visitor-26'));
  },
});
