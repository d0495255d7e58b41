// Every control of the inspector, clicked; every state of it, looked at.

import assert from 'node:assert/strict';
import { open, Watched, world, run, command, until } from './check.mjs';
import { every, choose, tab, live, seen } from './story.mjs';

const { worlds, full, read } = world;
const context = await open();

const themes = [[1440, 'light'], [1440, 'dark'], [360, 'light'], [360, 'dark']];

// inspect opens a page, waits for figures, does something, and closes it.
async function inspect(place, options, f) {
  const w = await Watched.open(context, `${place.url}/`, options);
  await live(w);
  await f(w, w.page);
  await w.fits();
  await w.contrast();
  await w.close();
}

// look takes pictures of a state in all themes and judges each.
async function look(place, name, f = async () => {}) {
  for (const [width, scheme] of themes) {
    await inspect(place, { width, scheme }, async (w, page) => {
      await f(w, page);
      await w.shot(`${name}-${width}-${scheme}`);
    });
  }
}

const health = (page) => page.textContent('#health');

await run({
  async 'three: every control'() {
    const w = await Watched.open(context, `${worlds.three.url}/`);
    await every(w, { shard: 's2', room: 'room-001' });
    await w.close();
  },

  async 'thirty: every control'() {
    const w = await Watched.open(context, `${worlds.thirty.url}/`, { width: 1100 });
    await every(w, { shard: 's17', room: 'room-002' });
    await w.close();
  },

  async 'three and thirty: pictures of every tab'() {
    for (const name of ['three', 'thirty']) {
      await look(worlds[name], `${name}-nodes`);
      await look(worlds[name], `${name}-chosen`, (w) => choose(w, 's2'));
      await look(worlds[name], `${name}-rooms`, async (w, page) => {
        await tab(w, 'rooms');
        await page.waitForSelector('#room-rows tr');
        await page.fill('#room', 'room-004');
        await page.click('#find button');
        await page.waitForSelector('#found:visible');
        await page.check('#payload');
        await page.click('#tail');
        await until('messages', async () => (await page.locator('#tail-rows tr').count()) > 14);
      });
      for (const [kind, field, value] of [['add', '#add', '2'], ['remove', '#remove', 's3']]) {
        await look(worlds[name], `${name}-plan-${kind}`, async (w, page) => {
          await tab(w, 'plan');
          await page.check(`[name=change][value=${kind}]`, { force: true });
          await (field === '#add' ? page.fill(field, value) : page.selectOption(field, value));
          await page.click('#plan button[type=submit]');
          await page.waitForSelector('#plan-result:visible');
        });
      }
      await look(worlds[name], `${name}-drain`, async (w, page) => {
        await choose(w, 's3');
        await page.click('#node .danger');
        await page.waitForSelector('#drain-moves li');
      });
    }
  },

  async 'hostile names are text'() {
    await inspect(worlds.three, { width: 360, scheme: 'dark' }, async (w, page) => {
      await tab(w, 'rooms');
      await page.check('[name=sort][value=name]', { force: true });
      await until('rooms by name', async () => (await page.locator('#room-rows tr').count()) === 100);
      await page.click('#rooms-more');
      await until('all rooms', async () => (await page.locator('#room-rows tr').count()) === 130);
      assert.equal(await page.locator('#room-rows img, #room-rows script, #room-rows b').count(), 0);
      await page.fill('#prefix', '<img');
      await until('one room', async () => (await page.locator('#room-rows tr').count()) === 1);
      await page.click('#room-rows button');
      await page.waitForSelector('#found:visible');
      assert.equal(await page.textContent('#found-title'), '<img src=x onerror=alert(1)>');
      await page.fill('#prefix', 'xxx');
      await until('the long one', async () => (await page.textContent('#room-rows bdi')).length === 255);
      await page.click('#room-rows button');
      await until('the long one found', async () => (await page.textContent('#found-title')).length === 255);
      await w.shot('hostile-long-360');
      await w.fits();
      await page.fill('#prefix', 'none has this');
      await page.waitForSelector('#rooms-empty:visible');
      w.expect(/404/);
      await page.fill('#room', 'no such room');
      await page.click('#find button');
      await until('the refusal', async () => /no room/.test(await page.textContent('#room-error')));
      await w.shot('rooms-empty-360');
    });
  },

  async 'long names of nodes'() {
    await look(worlds.long, 'long', async (w, page) => {
      await page.locator('#node-rows button').first().click();
      await page.waitForSelector('#node:visible');
    });
    await look(worlds.long, 'long-plan', async (w, page) => {
      await page.locator('#node-rows button').nth(1).click();
      await page.locator('#node .buttons button:not(.danger)').click();
      await page.waitForSelector('#plan-result:visible');
      await w.fits();
      await page.click('#plan-drain');
      await page.waitForSelector('#drain-moves li');
    });
  },

  async 'one shard, and none yet'() {
    await look(worlds.one, 'one');
    await look(worlds.empty, 'empty', async (w, page) => assert.equal(await health(page), 'not founded'));
    await look(worlds.empty, 'empty-rooms', (w) => tab(w, 'rooms'));
  },

  async 'a join'() {
    await inspect(worlds.three, { width: 1440 }, async (w, page) => {
      await command(worlds.three, 'join', 's4');
      await until('moves', async () => (await page.locator('#ring .under-way .chord').count()) > 10);
      await until('changes that fade', async () => (await page.locator('#ring .passed .chord').count()) > 0);
      await w.shot('join-1440');
      await w.contrast();
      await page.setViewportSize({ width: 360, height: 800 });
      await page.waitForTimeout(300);
      await w.shot('join-360');
      assert.match(await health(page), /to move/);
      await until('settled', async () => (await health(page)) === 'settled');
    });
  },

  async 'every control during a join'() {
    await command(worlds.thirty, 'join', 's31');
    const w = await Watched.open(context, `${worlds.thirty.url}/`, { scheme: 'dark' });
    await every(w, { shard: 's5', room: 'room-004' });
    await w.close();
  },

  async 'a fail-over'() {
    await inspect(worlds.three, { width: 1440, scheme: 'dark' }, async (w, page) => {
      await command(worlds.three, 'kill', 's2');
      await until('its death', async () => (await page.locator('#ring .shard.dead').count()) === 1);
      await until('the chord of its partitions', async () => (await page.locator('#ring .passed .chord').count()) > 0);
      await w.shot('failover-1440-dark');
      assert.match(await page.textContent('#latest'), /fail-over|copy|died/);
      await tab(w, 'events');
      await page.selectOption('#kind', 'failover');
      assert.ok((await page.locator('#events li').count()) >= 1);
      await page.selectOption('#kind', '');
      await w.shot('failover-events-1440-dark');
      await page.setViewportSize({ width: 360, height: 800 });
      await page.waitForTimeout(300);
      await w.shot('failover-events-360-dark');
    });
  },

  async 'every control during a fail-over, then a drain by hand'() {
    await command(worlds.thirty, 'kill', 's9');
    let w = await Watched.open(context, `${worlds.thirty.url}/`);
    await every(w, { shard: 's4', room: 'room-004' });
    await w.close();

    w = await Watched.open(context, `${worlds.thirty.url}/`);
    await live(w);
    await choose(w, 's12');
    await w.page.click('#node .danger');
    await w.page.waitForSelector('#drain-moves li');
    await w.page.click('#drain-go');
    await until('draining', async () => (await w.page.locator('#ring .shard.draining').count()) === 1);
    await w.shot('thirty-draining-1440');
    await every(w, { shard: 's2', room: 'room-005' });
    await w.shot('thirty-draining-later-1440');
    await until('it left', async () => (await w.page.locator('#ring .shard.draining').count()) === 0);
    await w.close();
  },

  async 'suspect, without an owner, restarted'() {
    await command(worlds.three, 'suspect', 's3');
    await command(worlds.three, 'orphan');
    await command(worlds.three, 'restart', 's1');
    await look(worlds.three, 'trouble', async (w, page) => {
      await until('unowned', async () => (await page.locator('#ring .shard.unowned').count()) === 1);
      assert.match(await health(page), /without owner/);
    });
    await command(worlds.three, 'alive', 's3');
  },

  async 'part of it cannot be reached'() {
    await command(worlds.thirty, 'silent', 's7');
    await look(worlds.thirty, 'silent', async (w, page) => {
      await until('the banner', async () => /cannot be reached since.*s7/.test(await page.textContent('#silent')));
    });
    await command(worlds.thirty, 'answers', 's7');
    await inspect(worlds.thirty, {}, async (w, page) => until('the banner is gone', async () => !(await page.isVisible('#silent'))));
  },

  async 'the node is lost and comes back'() {
    for (const [width, scheme] of [[1440, 'light'], [360, 'dark']]) {
      await inspect(worlds.one, { width, scheme }, async (w, page) => {
        w.expect(/ERR_/);
        await command(worlds.one, 'down');
        await page.waitForSelector('#lost:visible');
        assert.equal(await page.getAttribute('body', 'data-live'), 'stale');
        await page.waitForTimeout(800);
        await w.shot(`lost-${width}-${scheme}`);
        await w.contrast();
        await page.click('#retry');
        await command(worlds.one, 'up');
        await page.click('#retry', { timeout: 3000 }).catch(() => {}); // it may have come back by itself
        await until('it is back', async () => (await page.getAttribute('body', 'data-live')) === 'live');
        assert.equal(await page.isVisible('#lost'), false);
      });
    }
  },

  async 'a token is asked for'() {
    for (const [width, scheme] of themes) {
      const w = await Watched.open(context, `${worlds.locked.url}/`, { width, scheme });
      w.expect(/401/);
      w.expect(/403/);
      const { page } = w;
      await page.waitForSelector('#ask:visible');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'token');
      await w.shot(`token-${width}-${scheme}`);
      await w.contrast();
      await page.fill('#token', 'wrong');
      await page.click('#ask button');
      await until('the refusal', async () => /not one of/.test(await page.textContent('#ask-error')));
      await w.shot(`token-wrong-${width}-${scheme}`);
      await page.fill('#token', read);
      await page.keyboard.press('Enter');
      await live(w);
      if (width === 1440 && scheme === 'light') {
        await reader(w);
      }
      await page.reload();
      await live(w); // the tab remembers it
      await w.close();
    }
    const w = await Watched.open(context, `${worlds.locked.url}/`);
    w.expect(/401/);
    await w.page.fill('#token', full);
    await w.page.keyboard.press('Enter');
    await live(w);
    await choose(w, 's3');
    await w.page.click('#node .danger');
    await w.page.waitForSelector('#drain-moves li');
    await w.page.click('#drain-go');
    await until('draining', async () => /draining/.test(await w.page.textContent('#ring')));
    await w.close();
  },

  async 'by keyboard alone'() {
    await inspect(worlds.thirty, {}, async (w, page) => {
      await page.mouse.move(0, 0);
      const order = [];
      for (let i = 0; i < 12; i++) {
        await page.keyboard.press('Tab');
        order.push(await seen(page));
      }
      const at = (name) => order.findIndex((o) => o.includes(name));
      assert.ok(order[0].includes('skip'), order.join(' | '));
      assert.ok(at('shard') > 0 && at('SUMMARY') > at('shard') && at('tab-nodes') > at('SUMMARY'), order.join(' | '));

      await page.locator('#ring [tabindex="0"]').focus();
      await page.keyboard.press('ArrowRight');
      assert.match(await seen(page), /s2,/);
      await w.shot('keyboard-ring');
      await page.keyboard.press('End');
      await page.keyboard.press('ArrowRight');
      assert.match(await seen(page), /s1,/);
      await page.keyboard.press('Enter');
      await page.waitForSelector('#node:visible');
      await page.keyboard.press('Escape');
      assert.equal(await page.isVisible('#node'), false);

      await page.locator('#tab-nodes').focus();
      for (const name of ['rooms', 'plan', 'events', 'nodes', 'events']) {
        await page.keyboard.press(name === 'nodes' ? 'Home' : name === 'events' ? 'End' : 'ArrowRight');
        if (name !== 'nodes') {
          assert.equal(await page.isVisible(`#panel-${name}`), true, name);
        }
      }
      await page.reload();
      await page.waitForSelector('#panel-events:visible'); // the address remembers
    });
  },

  async 'it asks for little'() {
    const asked = [];
    const w = await Watched.open(context, `${worlds.three.url}/`);
    await live(w);
    w.page.on('request', (r) => asked.push(new URL(r.url()).pathname));
    await w.page.waitForTimeout(3000);
    assert.deepEqual(asked, []); // one stream, open since the beginning
    await tab(w, 'rooms');
    await w.page.waitForTimeout(4500);
    assert.ok(asked.length >= 2 && asked.length <= 4 && asked.every((p) => p === '/v1/rooms'), asked.join(' '));
    await tab(w, 'nodes');
    const before = asked.length;
    await w.page.waitForTimeout(3000);
    assert.equal(asked.length, before);
    await w.close();
  },

  async 'motion can be reduced'() {
    await inspect(worlds.one, { motion: 'reduce' }, async (w, page) => {
      const moving = await page.evaluate(() => document.getAnimations().length);
      assert.equal(moving, 0);
    });
  },
});

await context.close();

// reader does what the read token may not.
async function reader(w) {
  const { page } = w;
  await tab(w, 'rooms');
  await page.fill('#room', 'room-001');
  await page.click('#find button');
  await page.waitForSelector('#found:visible');
  await page.click('#tail');
  await until('messages without payload', async () => (await page.locator('#tail-rows tr').count()) > 2);
  await page.check('#payload');
  await until('the refusal', async () => /full token/.test(await page.textContent('#tail-note')));
  await w.shot('payload-refused');
  await choose(w, 's1');
  await page.click('#node .danger');
  await page.waitForSelector('#drain-moves li');
  await page.click('#drain-go');
  await until('the refusal', async () => /may only read/.test(await page.textContent('#drain-error')));
  await w.shot('drain-refused');
  await page.click('#drain-cancel');
}
