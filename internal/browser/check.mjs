// What is asked of every page, whatever it shows.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const { world, shots, only } = JSON.parse(process.env.BROWSER_WORLD);

export { world };

// patience bounds every wait, in milliseconds.
export const patience = 10_000;

// open starts the browser. It asks nobody outside for anything.
export const open = () => chromium.launchPersistentContext(process.env.BROWSER_PROFILE, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// Watched is a page, and what must not happen on it: an error, a refusal by its
// policy, a request to another host.
export class Watched {
  static async open(context, url, { width = 1440, height = 900, scheme = 'light', motion = 'no-preference', hosts = [] } = {}) {
    const w = new Watched();
    w.page = await context.newPage();
    w.page.setDefaultTimeout(patience);
    w.faults = [];
    w.expected = [];
    w.hosts = new Set([new URL(url).host, ...hosts]);
    w.listen();
    await w.page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
    });
    await w.page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
    await w.page.setViewportSize({ width, height });
    await w.page.goto(url);
    return w;
  }

  listen() {
    this.page.on('pageerror', (e) => this.faults.push(`error: ${e.stack}`));
    this.page.on('console', (m) => {
      if (m.type() === 'error' || m.type() === 'warning') {
        this.faults.push(`console: ${m.text()}`);
      }
    });
    this.page.on('request', (r) => {
      const url = new URL(r.url());
      if (url.protocol !== 'data:' && !this.hosts.has(url.host)) {
        this.faults.push(`request leaves: ${r.url()}`);
      }
    });
    this.page.on('dialog', (d) => {
      this.faults.push(`dialog: ${d.message()}`); // somebody's name was run as a script
      d.dismiss();
    });
  }

  // expect says that the browser itself will complain of this: of an answer
  // that is an error, or of none.
  expect(pattern) {
    this.expected.push(pattern);
  }

  // calm fails if something happened that must not.
  calm() {
    const faults = this.faults.filter((f) => !this.expected.some((p) => p.test(f)));
    this.faults = [];
    assert.deepEqual(faults, []);
  }

  async close() {
    this.calm();
    await this.page.close();
  }

  // shot takes a picture of the whole page; of the window alone when a dialog
  // lies over it.
  async shot(name) {
    if (shots) {
      const fullPage = (await this.page.locator('dialog[open]').count()) === 0;
      await this.page.screenshot({ path: `${shots}/${name}.png`, fullPage });
    }
  }

  // fits fails if the page scrolls sideways.
  async fits() {
    const [inner, outer, who] = await this.page.evaluate(() => {
      const room = document.documentElement.clientWidth;
      const wide = [...document.querySelectorAll('body *')].find((e) => e.getBoundingClientRect().right > room + 1 && !e.closest('.scroll, .hidden, svg, .tabs'));
      return [room, document.documentElement.scrollWidth, wide ? `${wide.tagName} ${wide.id} ${wide.className}` : ''];
    });
    assert.ok(outer <= inner, `the page is ${outer} px wide in ${inner} px: ${who}`);
  }

  // contrast fails if text has less than 4.5:1 (3:1 where it is large) to what
  // is behind it, or an arc of the ring less than 3:1.
  async contrast() {
    const low = await this.page.evaluate(measureContrast);
    assert.deepEqual(low, []);
  }
}

// measureContrast runs in the page. Colours are read back from a canvas, since
// a style may be said in any colour space.
function measureContrast() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const seen = new Map();
  const rgba = (colour) => {
    if (!seen.has(colour)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      seen.set(colour, [r, g, b, a / 255]);
    }
    return seen.get(colour);
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const ground = (e) => {
    const stack = [];
    for (; e; e = e.parentElement) {
      stack.unshift(rgba(getComputedStyle(e).backgroundColor));
    }
    return stack.reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const opacity = (e) => {
    let o = 1;
    for (; e; e = e.parentElement) {
      o *= Number(getComputedStyle(e).opacity);
    }
    return o;
  };
  const low = [];
  const shown = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && e.getClientRects().length > 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (n.data.trim() === '' || !shown(e) || e.closest('noscript, option, :disabled')) {
      continue;
    }
    const style = getComputedStyle(e);
    const svg = e instanceof SVGElement;
    const back = ground(svg ? e.ownerSVGElement.parentElement : e);
    const ink = rgba(svg ? style.fill : style.color);
    const have = ratio(over([...ink.slice(0, 3), ink[3] * opacity(e)], back), back);
    const size = parseFloat(style.fontSize);
    const want = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (have < want) {
      low.push(`${have.toFixed(2)} < ${want}: ${e.tagName} .${e.getAttribute('class')} “${n.data.trim().slice(0, 30)}”`);
    }
  }
  for (const arc of document.querySelectorAll('.ring .shard:not(.dim, .unowned) .arc')) {
    const have = ratio(rgba(getComputedStyle(arc).fill), ground(arc.ownerSVGElement.parentElement));
    if (have < 3 && opacity(arc) === 1) {
      low.push(`${have.toFixed(2)} < 3: arc of ${arc.parentElement.getAttribute('aria-label')}`);
    }
  }
  return [...new Set(low)];
}

// command has a scripted cluster do something.
export async function command(place, what, id = '') {
  const answer = await fetch(`${place.command}/?${new URLSearchParams({ do: what, id })}`);
  assert.equal(answer.status, 200, await answer.text());
}

// until waits for a condition of the page's own state.
export async function until(what, f) {
  const end = Date.now() + patience;
  for (;;) {
    if (await f()) {
      return;
    }
    assert.ok(Date.now() < end, `waited in vain for: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

// run runs parts one after the other, so that each fails on its own.
export async function run(parts) {
  let failed = 0;
  for (const [name, part] of Object.entries(parts)) {
    if (only && !name.includes(only)) {
      continue;
    }
    const begun = Date.now();
    try {
      await part();
      console.log(`ok    ${name} (${Date.now() - begun} ms)`);
    } catch (e) {
      failed++;
      console.log(`FAIL  ${name} (${Date.now() - begun} ms)\n${e.stack}`);
    }
  }
  process.exitCode = failed > 0 ? 1 : 0;
}
