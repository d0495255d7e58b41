// What a person does with the inspector, for a scripted cluster and a real one.

import assert from 'node:assert/strict';
import { until } from './check.mjs';

// live waits for the first figures.
export const live = (w) => until('figures', () => w.page.evaluate(() =>
  document.body.dataset.live === 'live' && document.querySelectorAll('#node-rows tr').length > 0 && document.querySelector('#ring .shard') !== null));

export async function tab(w, name) {
  await w.page.click(`#tab-${name}`);
  await w.page.waitForSelector(`#panel-${name}:visible`);
}

// choose picks a shard on the ring.
export async function choose(w, id) {
  await w.page.locator(`#ring .shard[aria-label^="${id},"] .name`).click();
  await w.page.waitForSelector('#node:visible');
}

// seen names what has the focus.
export const seen = (page) => page.evaluate(() => {
  const e = document.activeElement;
  return [e.tagName, e.id, e.getAttribute('class') ?? '', e.getAttribute('aria-label') ?? ''].join(' ');
});

// every clicks each control that the page has, and fails if one was left out:
// the page itself is asked which there are, whenever something was done.
export async function every(w, { shard, room }) {
  const { page } = w;
  await live(w);
  await page.evaluate(watchControls);
  const meet = () => page.evaluate(() => window.meetControls());

  await page.locator('.skip').focus();
  await page.keyboard.press('Enter');
  await page.click('.as-table summary');
  await meet();
  await page.locator('#ring-rows button').first().click();
  await page.waitForSelector('#node:visible');
  await meet();
  await page.click('#node .head button');

  await choose(w, shard);
  await meet();
  await link(w, page.locator('#node a'));
  await hover(page, '#node .chart svg');
  await page.click('#node .danger');
  await until('what would move', async () => /these shards|owns nothing/.test(await page.textContent('#drain-text')));
  await meet();
  await page.click('#drain-cancel');
  await page.locator('#node .buttons button:not(.danger)').click();
  await page.waitForSelector('#plan-result:visible');
  await meet();
  await page.click('#plan-drain');
  await page.keyboard.press('Escape');
  assert.equal(await page.isVisible('#drain'), false);
  await page.click('#clear-plan');
  await plan(page, shard);
  await meet();

  await hover(page, '#ring .ticks');
  await hover(page, '#totals svg');
  await tab(w, 'nodes');
  await page.locator('#node-rows button').last().click();
  await meet();
  await page.locator('#node-rows button').last().click();
  await link(w, page.locator('#node-rows a').first());

  await tab(w, 'rooms');
  await rooms(page, room, meet);
  await tab(w, 'events');
  await page.selectOption('#kind', { index: 1 });
  await page.selectOption('#kind', '');
  await meet();
  await tab(w, 'plan');
  assert.deepEqual(await page.evaluate(() => window.leftControls()), ['#drain-go']); // what it does is a part of its own
  await w.fits();
}

async function plan(page, shard) {
  await page.check('[name=change][value=add]', { force: true });
  await page.check('[name=change][value=remove]', { force: true });
  await page.selectOption('#remove', shard);
  await page.click('#plan button[type=submit]');
  await page.waitForSelector('#plan-result:visible');
  await page.check('[name=change][value=add]', { force: true });
  await page.fill('#add', '3');
  await page.click('#plan button[type=submit]');
  await until('the plan with three more', async () => /3 more shards/.test(await page.textContent('#plan-summary')));
  assert.equal(await page.locator('#plan-shards .tag').count(), 3);
  await page.click('#clear-plan');
}

async function rooms(page, room, meet) {
  for (const sort of ['members', 'name', 'messages']) {
    await page.check(`[name=sort][value=${sort}]`, { force: true });
    const title = { members: 'fullest', name: 'by name', messages: 'busiest' }[sort];
    await until(`rooms by ${sort}`, async () => (await page.textContent('#hot-title')).includes(title) && (await page.locator('#room-rows tr').count()) > 0);
    if (sort === 'name') {
      await meet();
      if (await page.isVisible('#rooms-more')) {
        await page.click('#rooms-more');
      }
      await page.fill('#prefix', room.slice(0, 4));
      await meet();
    }
  }
  await page.locator('#room-rows button').first().click();
  await page.waitForSelector('#found:visible');
  await page.fill('#room', room);
  await page.click('#find button');
  await until('the room', async () => (await page.textContent('#found-title')) === room);
  await meet();
  await page.click('#tail');
  await until('messages', async () => (await page.locator('#tail-rows tr').count()) > 0);
  await page.check('#payload');
  await until('payloads', async () => (await page.locator('#tail-rows td:last-child bdi').count()) > 0);
  await until('a rate', async () => /Messages\/s[\d.,]+/.test(await page.textContent('#found-facts')));
  await page.click('#tail');
  await meet();
  await page.click('#found-close');
}

async function hover(page, selector) {
  await page.locator(selector).first().hover({ force: true });
}

// link follows a link without leaving: where it leads is another node.
async function link(w, a) {
  assert.match(await a.getAttribute('href'), /^http:\/\/127\.0\.0\.1:\d+\/$/);
  assert.equal(await a.getAttribute('rel'), 'noopener noreferrer');
  await a.evaluate((e) => e.addEventListener('click', (event) => event.preventDefault(), { once: true }));
  await a.click();
}

// watchControls runs in the page: it notes which controls there are and which
// were used. Those that repeat (one for each node) count as one.
function watchControls() {
  const name = (e) => {
    const c = e.closest('button, a, input, select, summary, [role="button"]');
    if (!c) {
      return null;
    }
    if (c.id) {
      return `#${c.id}`;
    }
    if (c.name) {
      return `${c.name}=${c.value}`;
    }
    const home = c.parentElement.closest('[id]:not(tr)');
    const words = c.closest('#node') === null ? '' : c.textContent;
    return `${home ? `#${home.id}` : ''} ${c.tagName.toLowerCase()}.${c.getAttribute('class')?.split(' ')[0] ?? ''} ${words}`;
  };
  const met = new Set();
  const used = new Set();
  const usable = (e) => e.checkVisibility() && !e.disabled && e.closest('#ask, #lost') === null;
  window.meetControls = () => {
    for (const e of document.querySelectorAll('button, a, input, select, summary, [role="button"]')) {
      if (usable(e)) {
        met.add(name(e));
      }
    }
  };
  window.leftControls = () => {
    window.meetControls();
    return [...met].filter((m) => !used.has(m));
  };
  for (const kind of ['click', 'change', 'input']) {
    document.addEventListener(kind, (e) => {
      window.meetControls();
      used.add(name(e.target));
    }, true);
  }
}
