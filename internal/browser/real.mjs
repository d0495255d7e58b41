// The inspector of a real cluster under traffic, while it changes.

import assert from 'node:assert/strict';
import { open, Watched, world as place, run, command, until } from './check.mjs';
import { every, choose, tab, live } from './story.mjs';

const context = await open();

const health = (page) => page.textContent('#health');
const settled = (page) => until('settled', async () => /^settled/.test(await health(page)));

async function show(options) {
  const w = await Watched.open(context, `${place.url}/`, options);
  await live(w);
  return w;
}

// agreed reports whether the page shows of the asked node what its /metrics says in the same second.
const agreed = (page) => page.evaluate(async () => {
  const text = await (await fetch('/metrics')).text();
  const metric = (name) => Number(text.match(new RegExp(`^roomring_${name} (.*)$`, 'm'))?.[1]);
  const id = text.match(/^roomring_node_info\{.*\bid="([^"]*)".*role="([^"]*)"/m);
  const row = [...document.querySelectorAll('#node-rows tr')].find((tr) => tr.querySelector('th').textContent === id[1]);
  const shown = (i) => Number(row.children[i].textContent.replaceAll(',', ''));
  const rooms = metric(id[2] === 'router' ? 'hub_rooms' : 'shard_owned_rooms');
  return rooms > 0 && shown(4) === rooms && (id[2] !== 'router' || shown(3) === metric('router_websockets'));
});

// busiest is the name of a room with messages.
async function busiest(w) {
  await tab(w, 'rooms');
  await w.page.waitForSelector('#room-rows button');
  return w.page.locator('#room-rows bdi').first().textContent();
}

let room = '';

await run({
  async 'settled'() {
    const w = await show({});
    await settled(w.page);
    await until('deliveries', async () => /[1-9]/.test(await w.page.locator('#totals .value').first().textContent()));
    await until('page and /metrics agree', () => agreed(w.page));
    room = await busiest(w);
    await w.shot('real-rooms');
    await every(w, { shard: 's2', room });
    await w.close();
  },

  async 'a join'() {
    const w = await show({ scheme: 'dark' });
    await command(place, 'start', 's4');
    await until('it is on the ring', async () => (await w.page.locator('#ring .shard[aria-label^="s4,"]').count()) === 1);
    await w.shot('real-join');
    await every(w, { shard: 's4', room });
    await tab(w, 'events');
    await until('its join in the feed', async () => /joined\s*s4/.test(await w.page.textContent('#events')));
    await w.shot('real-join-events');
    await settled(w.page);
    await w.close();
  },

  async 'a fail-over'() {
    const w = await show({});
    await command(place, 'kill', 's2');
    await until('its death', async () => /s2, (dead|suspect)/.test(await w.page.locator('#ring').innerHTML()));
    await w.shot('real-failover');
    await every(w, { shard: 's1', room });
    await tab(w, 'events');
    await until('the fail-over in the feed', async () => /fail-over/.test(await w.page.textContent('#events')));
    await w.shot('real-failover-events');
    await w.contrast();
    await settled(w.page);
    await w.close();
  },

  async 'a drain'() {
    const w = await show({ width: 1100 });
    await choose(w, 's3');
    await w.page.click('#node .danger');
    await w.page.waitForSelector('#drain-moves li');
    await w.shot('real-drain-dialog');
    await w.page.click('#drain-go');
    await until('the dialog is closed', async () => !(await w.page.isVisible('#drain')));
    await w.shot('real-draining');
    await every(w, { shard: 's1', room });
    await tab(w, 'events');
    await until('the hand-off in the feed', async () => /hand-off/.test(await w.page.textContent('#events')));
    await until('it has left', async () => (await w.page.locator('#ring .shard[aria-label^="s3, draining"]').count()) === 0);
    await w.shot('real-drained');
    await settled(w.page);
    assert.equal(await w.page.isVisible('#lost'), false);
    await w.close();
  },
});

await context.close();
