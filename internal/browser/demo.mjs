// The page of roomring dev: two people chat through both routers while one of them breaks the cluster.

import assert from 'node:assert/strict';
import { open, Watched, world, run, until } from './check.mjs';

const { page: address, other, control, end } = world;
const context = await open();
const hosts = [address, other, control].map((url) => new URL(url).host);
const settling = 60_000; // ms for a cluster on a busy machine

// visit opens the page in a room.
async function visit(url, options = {}, room = 'lobby') {
  const w = await Watched.open(context, `${url}/#${room}`, { hosts, ...options });
  w.page.on('websocket', (s) => assert.ok(hosts.includes(new URL(s.url()).host), `a socket leaves: ${s.url()}`));
  await until('the chat', async () => (await w.page.getAttribute('#state', 'data-state')) === 'open');
  return w;
}

const number = async (w, id) => Number((await w.page.textContent(`#${id}`)).replaceAll(',', ''));

// judged waits until all clients of the page's judge are there, and have heard more.
async function judged(w) {
  await later('the judge', async () => (await w.page.getAttribute('#judging', 'data-state')) === 'open');
  const before = await number(w, 'acknowledged');
  await later('more messages', async () => (await number(w, 'acknowledged')) > before + 20);
}

// clean fails if anything went wrong so far, or was announced that should not be.
async function clean(w, told = /^0, 0$/) {
  const got = {};
  for (const id of ['lost', 'doubled', 'reordered', 'closed']) {
    got[id] = await w.page.textContent(`#${id}`);
  }
  assert.deepEqual(got, { lost: '0', doubled: '0', reordered: '0', closed: '0' });
  assert.match(await w.page.textContent('#told'), told);
}

async function later(what, f) {
  const last = Date.now() + settling;
  for (;;) {
    if (await f()) {
      return;
    }
    assert.ok(Date.now() < last, `waited in vain for: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

// states is what the list of shards says, as 's1 running, s2 killed'.
const states = (w) => w.page.$$eval('#shards li', (rows) => rows.map((r) => `${r.querySelector('.name').textContent} ${r.querySelector('.word').textContent}`).join(', '));

// settled waits until the page shows the shards so, the ring with so many of them, and the cluster settled.
async function settled(w, want, shards) {
  await later(`${want}, settled`, async () => {
    const rings = await w.page.locator('#ring .shard:not(.dead)').count();
    return (await states(w)) === want && rings === shards && (await w.page.textContent('#cluster')) === 'settled';
  });
}

const button = (w, what, id) => w.page.locator(`[aria-label="${what} ${id}"]`);

// press uses a button that says why it may not be used.
async function press(which) {
  await which.focus();
  await which.press('Enter');
}

async function say(w, text) {
  await w.page.fill('#text', text);
  await w.page.press('#text', 'Enter');
}

const said = (w) => w.page.$$eval('#log .message:not(.pending) p', (list) => list.map((p) => p.textContent));

const themes = [[1440, 'light'], [1440, 'dark'], [360, 'light'], [360, 'dark'], [820, 'light']];

// look takes pictures of the present state in all themes, and judges each.
async function look(w, name) {
  for (const [width, scheme] of themes) {
    await w.page.emulateMedia({ colorScheme: scheme });
    await w.page.setViewportSize({ width, height: width < 1000 ? 780 : 900 });
    await w.page.waitForTimeout(400); // colours fade over, the ring is drawn anew
    await w.fits();
    await w.contrast();
    await w.shot(`demo-${name}-${width}-${scheme}`);
  }
  await w.page.emulateMedia({ colorScheme: 'light' });
  await w.page.setViewportSize({ width: 1440, height: 900 });
}

const a = await visit(address);
const b = await visit(other);

await run({
  async 'chat through both routers'() {
    await look(a, 'empty');
    await a.page.fill('#name', 'Ada');
    await b.page.fill('#name', 'Ben');
    await say(a, 'Hello from router 1');
    await until('the first message at router 2', async () => (await said(b)).length === 1);
    await say(b, 'Hello back from router 2, <b>with</b> "marks" & all');
    await until('the answer', async () => (await said(a)).length === 2);
    assert.deepEqual(await said(a), await said(b));
    assert.equal(await a.page.textContent('#log .mine p'), 'Hello from router 1');
  },

  async 'kill, restart, add, drain'() {
    await settled(a, 's1 running, s2 running, s3 running', 3);
    await judged(a);
    await judged(b);
    await look(a, 'settled');
    const own = await a.page.locator('#ring .own').getAttribute('transform');
    assert.ok(own, 'the chat\'s room is not marked on the ring');

    const steps = [
      ['Kill', 's2', 's1 running, s2 killed, s3 running', 2],
      ['Restart', 's2', 's1 running, s2 running, s3 running', 3],
      ['Add', '', 's1 running, s2 running, s3 running, s4 running', 4],
      ['Drain', 's1', 's1 has left, s2 running, s3 running, s4 running', 3],
    ];
    for (const [what, id, want, shards] of steps) {
      await (id ? button(a, what, id) : a.page.locator('#add')).click();
      if (what === 'Kill') {
        await look(a, 'killed');
      }
      await say(a, `${what} ${id}`);
      await settled(a, want, shards);
      await settled(b, want, shards);
      await judged(a);
      await judged(b);
      await clean(a);
      await clean(b);
      assert.match(await a.page.textContent('#event'), new RegExp(`Since ${id || 's4'} `));
    }
    await until('what was said meanwhile', async () => (await said(b)).length === 6);
    assert.deepEqual(await said(a), await said(b));
    await later('the feed', async () => (await a.page.locator('#feed li').count()) > 3);
    await look(a, 'drained');
  },

  async 'by keyboard'() {
    await button(a, 'Restart', 's1').focus();
    await a.page.keyboard.press('Enter');
    await settled(a, 's1 running, s2 running, s3 running, s4 running', 4);
    assert.equal(await a.page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Kill s1', 'the focus is lost');
    await a.page.keyboard.press('Tab');
    await a.page.keyboard.press('Enter'); // Drain
    await settled(a, 's1 has left, s2 running, s3 running, s4 running', 3);
    assert.equal(await a.page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Restart s1', 'the focus is lost');
    await clean(a);
  },

  async 'another router, another room'() {
    await a.page.getByText('Router 2', { exact: false }).first().click();
    await until('the other router', async () => (await a.page.textContent('#log')).includes('Back, through router 2. Nothing was missed.'));
    await a.page.fill('#room', 'kitchen');
    await a.page.press('#room', 'Enter');
    await until('the other room', async () => (await a.page.textContent('#where-text')).startsWith('“kitchen” lives on'));
    assert.deepEqual(await said(a), []);
    assert.match(await a.page.getAttribute('#second', 'href'), /#kitchen$/);
    await a.page.fill('#room', 'lobby');
    await a.page.press('#room', 'Enter');
    await until('what is kept', async () => (await said(a)).length === 6);
  },

  async 'both copies at once'() {
    const before = await states(a);
    const [one, two] = before.match(/s\d(?= running)/g);
    await judged(a);
    await button(a, 'Kill', one).click();
    await button(a, 'Kill', two).click(); // before the rooms of the first have another copy
    await later('resets', async () => /^0, [1-9]/.test(await a.page.textContent('#told')));
    await later('settled', async () => (await a.page.textContent('#cluster')) === 'settled');
    await judged(a);
    await clean(a, /^0, [1-9]\d*$/); // what is announced is not lost
    await press(button(a, 'Kill', (await states(a)).match(/s\d(?= running)/)[0]));
    assert.match(await a.page.textContent('#outcome'), /is the last shard/);
    await look(a, 'last');
  },

  async 'no more than eight'() {
    const rows = a.page.locator('#shards li');
    for (let n = await rows.count(); n < 8; n++) {
      await a.page.click('#add');
      await later(`shard ${n + 1}`, async () => (await rows.count()) > n);
    }
    await until('that it says so', async () => (await a.page.getAttribute('#add', 'aria-disabled')) === 'true');
    await press(a.page.locator('#add'));
    assert.match(await a.page.textContent('#outcome'), /8 shards are the most/);
    await later('settled', async () => (await a.page.textContent('#cluster')) === 'settled');
    await judged(a);
    await clean(a, /^0, \d+$/);
    await clean(b, /^0, \d+$/);
    await look(a, 'eight');
  },

  async 'lies are found'() {
    let sockets = 0;
    await context.routeWebSocket(/room=judge-/, (page) => {
      const server = page.connectToServer();
      const lie = { 1: 'lose', 4: 'double', 7: 'swap' }[++sockets]; // a listener of the first, second, third room
      let heard = 0;
      let held = null;
      server.onMessage((message) => {
        const now = ++heard === 5 ? lie : '';
        if (now === 'swap') {
          held = message;
        } else if (now !== 'lose') {
          page.send(message);
        }
        if (now === 'double' || (held && now !== 'swap')) {
          page.send(held ?? message);
          held = null;
        }
      });
    });
    const c = await visit(address);
    await later('the judge', async () => (await c.page.getAttribute('#judging', 'data-state')) === 'open');
    await later('what is wrong', async () => (await Promise.all(['lost', 'doubled', 'reordered'].map((id) => number(c, id)))).join() === '1,1,1');
    assert.equal(await c.page.locator('.figures .alarm').count(), 3);
    await look(c, 'alarm');
    await c.close();
  },

  async 'the end'() {
    for (const w of [a, b]) {
      w.expect(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|WebSocket connection to/); // the browser itself says so
    }
    await fetch(end);
    await until('that nobody answers', async () => (await a.page.textContent('#about')).includes('does not answer'));
    await until('that the ring is not live', async () => (await a.page.textContent('#cluster')) === 'no answer');
    await press(button(a, 'Kill', 's2'));
    assert.match(await a.page.textContent('#outcome'), /does not answer/);
    for (const id of ['lost', 'doubled', 'reordered']) {
      assert.equal(await a.page.textContent(`#${id}`), '0');
    }
    await look(a, 'gone');
    await a.close();
    await b.close();
  },
});

await context.close();
