// What if: what a change would move. And drain, which changes something.

import { $, el, set, named, brief, count, some } from './dom.js';
import { why } from './port.js';
import { paint } from './ring.js';
import { natural } from './state.js';

export class Plan {
  constructor(page) {
    this.page = page;
    this.document = null; // what lies over the ring
    this.asking = null;
    this.draining = null; // id in the dialog
    const form = $('plan');
    form.addEventListener('change', () => this.fields());
    form.addEventListener('submit', (e) => {
      e.preventDefault();
      this.ask();
    });
    $('plan-drain').addEventListener('click', () => this.drain($('remove').value));
    $('drain-cancel').addEventListener('click', () => $('drain').close());
    $('drain-go').addEventListener('click', () => this.go());
    this.fields();
  }

  get change() {
    return $('plan').querySelector('[name="change"]:checked').value;
  }

  fields() {
    const adding = this.change === 'add';
    $('plan-add').hidden = !adding;
    $('plan-remove').hidden = adding;
    $('add').disabled = !adding; // else its bounds would hold back a removal
    this.offer();
  }

  // offer shows the button that drains beside the plan of a removal.
  offer() {
    const id = $('remove').value;
    $('plan-drain').hidden = this.change !== 'remove' || id === '';
    set($('plan-drain'), `Drain ${brief(id)}…`);
  }

  // shards keeps the choice of shards that can go.
  shards(state) {
    const ids = [...new Set(state.shards().filter((s) => s.state !== 'dead').map((s) => s.id))];
    const select = $('remove');
    if ([...select.options].map((o) => o.value).join(' ') !== ids.join(' ')) {
      const { value } = select;
      select.replaceChildren(...ids.map((id) => el('option', {}, id)));
      select.value = ids.includes(value) ? value : ids[0] ?? '';
      this.offer();
    }
  }

  // removing asks for the plan without a shard, from elsewhere on the page.
  removing(id) {
    $('plan').querySelector('[value="remove"]').checked = true;
    $('remove').value = id;
    this.fields();
    $('tab-plan').click();
    this.ask();
  }

  async fetch(query, signal) {
    return this.page.port.ask(`/v1/ring/plan?${new URLSearchParams(query)}`, { signal });
  }

  async ask() {
    this.asking?.abort();
    const mine = new AbortController();
    this.asking = mine;
    set($('plan-error'), '');
    set($('plan-empty'), 'Working it out…');
    $('plan-empty').hidden = false;
    $('plan-result').hidden = true;
    try {
      const d = await this.fetch(this.change === 'add' ? { add: $('add').value } : { remove: $('remove').value }, mine.signal);
      this.document = d;
      this.show(d);
    } catch (e) {
      if (e.name !== 'AbortError') {
        this.clear();
        set($('plan-error'), why(e));
      }
    }
    this.page.draw();
  }

  clear() {
    this.document = null;
    $('plan-result').hidden = true;
    $('plan-empty').hidden = false;
    set($('plan-empty'), 'Nothing is changed by asking. The ring shows what would move, in the colour of where it would go.');
    $('clear-plan').hidden = true;
    $('ring-hint').hidden = false;
    this.page.draw();
  }

  show(d) {
    $('plan-empty').hidden = true;
    $('plan-result').hidden = false;
    $('clear-plan').hidden = false;
    $('ring-hint').hidden = true;
    const what = d.add > 0 ? `With ${some(d.add, 'more shard')}` : `Without ${d.remove}`;
    const share = ((100 * d.moves.length) / Math.max(1, this.page.state.partitions)).toFixed(1);
    set($('plan-summary'), `${what}, ${some(d.moves.length, 'partition')} (${share} %) would get another owner and ${count(d.copies)} another follower. `
      + `No even placement could do with fewer than ${count(d.ideal)}.${d.settled ? '' : ' The cluster is not settled: some of these moves are under way already.'}`);
    this.table(d);
    this.moves($('plan-moves'), d);
  }

  seat(id) {
    return this.page.view.seat(id);
  }

  // named is a shard's name with its colour.
  named(id, tag = '') {
    const swatch = el('span', { class: 'swatch' });
    paint(swatch, id === '' ? undefined : this.seat(id));
    return el('span', { class: 'cell' }, swatch, named(el('span'), id || 'nobody'), tag ? el('span', { class: 'tag' }, tag) : null);
  }

  table(d) {
    this.page.view.draw(this.page.state, { highlight: this.page.chosen, plan: d });
    const shards = [...d.shards].sort((a, b) => natural(a.id, b.id));
    $('plan-shards').replaceChildren(...shards.map((s) => el('tr', {},
      el('th', { scope: 'row' }, this.named(s.id, s.new ? 'new' : s.removed ? 'goes' : '')),
      ...[s.owned, s.owned_then, s.ideal, s.following, s.following_then].map((n) => el('td', { class: 'n' }, count(n))))));
  }

  // pairs counts a plan's moves by where they come from and go to.
  pairs(d) {
    const pairs = new Map();
    for (const m of d.moves) {
      const key = `${m.from}\n${m.to}`;
      pairs.set(key, (pairs.get(key) ?? 0) + 1);
    }
    return [...pairs].map(([key, n]) => [...key.split('\n'), n]).sort((a, b) => b[2] - a[2] || natural(a[0], b[0]) || natural(a[1], b[1]));
  }

  moves(body, d) {
    const pairs = this.pairs(d);
    const most = pairs[0]?.[2] ?? 1;
    body.replaceChildren(...pairs.map(([from, to, n]) => {
      const bar = el('span');
      bar.style.width = `${(100 * n) / most}%`;
      paint(bar, this.seat(to));
      return el('tr', {}, el('td', {}, this.named(from)), el('td', {}, this.named(to)), el('td', { class: 'n' }, count(n)), el('td', { class: 'bar', 'aria-hidden': 'true' }, bar));
    }));
    if (pairs.length === 0) {
      body.replaceChildren(el('tr', {}, el('td', { colspan: 4 }, 'Nothing would move.')));
    }
  }

  // drain asks before it does: the dialog says what will move.
  async drain(id) {
    this.draining = id;
    const router = this.page.figures.run(id)?.figures.role === 'router';
    set($('drain-title'), `Drain ${id}?`);
    set($('drain-error'), '');
    set($('drain-go'), `Drain ${brief(id)}`);
    $('drain-go').disabled = false;
    $('drain-moves').replaceChildren();
    set($('drain-text'), router
      ? `${id} stops accepting clients, closes its ${some(this.page.figures.run(id).figures.conns, 'connection')} one by one (they come back elsewhere) and ends.`
      : `${id} hands over its partitions and copies, then ends. No client is closed, no message lost.`);
    $('drain').showModal();
    $('drain-cancel').focus();
    if (!router) {
      await this.preview(id);
    }
  }

  async preview(id) {
    try {
      const d = await this.fetch({ remove: id });
      if (this.draining !== id) {
        return;
      }
      const to = new Map();
      const own = d.moves.filter((m) => m.from === id); // others may be under way
      for (const m of own) {
        to.set(m.to, (to.get(m.to) ?? 0) + 1);
      }
      set($('drain-text'), own.length === 0
        ? `${id} owns nothing. It gives up its copies, then ends. No client is closed, no message lost.`
        : `${id} hands over ${some(own.length, 'partition')} and its copies to these shards, then ends. No client is closed, no message lost.`);
      $('drain-moves').replaceChildren(...[...to].sort((a, b) => natural(a[0], b[0])).map(([shard, n]) => el('li', {}, this.named(shard, count(n)))));
    } catch (e) {
      if (this.draining === id) {
        set($('drain-error'), `What would move is not known. ${why(e)}`);
      }
    }
  }

  async go() {
    const id = this.draining;
    $('drain-go').disabled = true;
    try {
      await this.page.port.ask('/v1/drain', { body: { node: id } });
      this.clear();
      $('drain').close();
    } catch (e) {
      set($('drain-error'), e.status === 403 ? 'This token may only read: to drain needs the full token (--admin-token).' : why(e));
      $('drain-go').disabled = false;
    }
  }
}
