// The table of nodes, and one node in detail.

import { $, el, set, named, keyed, bytes, count, short, rate, none, date, span, some } from './dom.js';
import { paint } from './ring.js';
import { natural } from './state.js';
import { Chart } from './chart.js';

const tones = { alive: 'soft', suspect: 'warn', draining: 'warn', dead: 'bad', silent: 'bad' };

// open is a link to a node's own page.
const open = (n, text, name) => el('a', {
  class: name, href: `${location.protocol}//${n.admin}/`, target: '_blank', rel: 'noopener noreferrer', 'aria-label': `Page of ${n.id}`,
}, text);

// state is a node's state in a word: one that lives but gives no answer is silent.
const state = (n) => (n.state !== 'dead' && !n.reached ? 'silent' : n.state);

export class Nodes {
  constructor(page) {
    this.page = page;
    this.charts = null;
    this.shown = null; // id of the node in detail
  }

  // list is the living first within a role, a dead run only when its id has no other.
  list() {
    const all = this.page.figures.document?.nodes ?? [];
    return all
      .filter((n) => n.state !== 'dead' || !all.some((o) => o.id === n.id && o.state !== 'dead'))
      .sort((a, b) => (a.role === b.role ? natural(a.id, b.id) : a.role === 'shard' ? -1 : 1));
  }

  show() {
    const list = this.list();
    $('nodes-empty').hidden = list.length > 0;
    keyed($('node-rows'), list, (n) => `${n.id}/${n.incarnation}`, (n) => this.row(n), (row, n) => this.fill(row, n));
    this.detail();
  }

  row(n) {
    const button = named(el('button', { type: 'button', class: 'link' }), n.id);
    button.addEventListener('click', () => this.page.choose(this.page.chosen === n.id ? null : n.id));
    const swatch = el('span', { class: n.role === 'router' ? 'swatch router' : 'swatch' });
    const cells = Array.from({ length: 12 }, (_, i) => el('td', { class: i >= 2 && i <= 7 ? 'n' : null }));
    cells[11].append(n.admin ? open(n, 'open', null) : none);
    cells[6].append(el('span'), el('span', { class: 'meter', 'aria-hidden': 'true' }, el('span')));
    return el('tr', {}, el('th', { scope: 'row' }, el('span', { class: 'cell' }, swatch, button)), ...cells);
  }

  fill(row, n) {
    const run = this.page.figures.runs.get(`${n.id}/${n.incarnation}`);
    const told = n.reached;
    const [name, role, condition, conns, rooms, messages, deliveries, memory, lag, raft, zone, version] = row.children;
    row.classList.toggle('picked', n.id === this.page.chosen);
    row.classList.toggle('gone', n.state === 'dead');
    if (n.role === 'shard') {
      paint(name.querySelector('.swatch'), this.page.state.seats.get(n.id));
    }
    name.querySelector('button').setAttribute('aria-pressed', String(n.id === this.page.chosen));
    set(role, n.role);
    this.condition(condition, n);
    set(zone, n.zone || none);
    this.cut(version, n.version || none);
    set(conns, told && n.role === 'router' ? short(n.conns) : none);
    set(rooms, told ? short(n.rooms) : none);
    set(messages, rate(run.messages));
    set(deliveries, rate(run.deliveries));
    this.memory(memory, n);
    set(lag, told && n.role === 'shard' ? short(n.lag_entries) : none);
    lag.title = told && n.role === 'shard' ? `${bytes(n.lag_bytes)} not with every follower` : '';
    set(raft, n.leader ? 'leader' : n.voter ? 'voter' : none);
  }

  condition(cell, n) {
    const word = state(n);
    const ready = word !== 'alive' || n.ready;
    if (cell.dataset.word !== word + ready) {
      cell.dataset.word = word + ready;
      cell.replaceChildren(el('span', { class: 'state', 'data-tone': ready ? tones[word] ?? 'soft' : 'warn' }, ready ? word : 'not ready'));
    }
    cell.title = (n.reasons ?? []).join(', ');
  }

  cut(cell, text) {
    if (cell.textContent !== text) {
      cell.replaceChildren(el('span', { class: 'cut', title: text }, text));
    }
  }

  memory(cell, n) {
    const [text, meter] = cell.children;
    const { used, limit } = n.memory;
    const known = n.reached && used > 0;
    set(text, known ? bytes(used) : none);
    meter.hidden = !known || limit <= 0;
    const part = known && limit > 0 ? Math.min(1, used / limit) : 0;
    meter.firstChild.style.width = `${(100 * part).toFixed(0)}%`;
    cell.title = known && limit > 0 ? `${(100 * used / limit).toFixed(0)} % of ${bytes(limit)}` : '';
  }

  // detail shows the node that is chosen, beside the ring.
  detail() {
    const box = $('node');
    const run = this.page.chosen === null ? null : this.page.figures.run(this.page.chosen);
    box.hidden = run === null;
    if (run === null) {
      this.shown = null;
      box.replaceChildren();
      return;
    }
    const n = run.figures;
    if (this.shown !== n.id) {
      this.shown = n.id;
      this.build(box, n);
    }
    this.update(n, run);
  }

  build(box, n) {
    const router = n.role === 'router';
    this.charts = {
      deliveries: new Chart(router ? 'Deliveries/s' : 'Copies to routers/s', rate),
      messages: new Chart('Messages/s', rate),
      conns: new Chart(router ? 'Connections' : 'Rooms', short),
      memory: new Chart('Memory', bytes),
    };
    this.facts = el('dl', { class: 'facts' });
    const button = (text, name, act) => {
      const b = el('button', { type: 'button', class: name }, text);
      b.addEventListener('click', act);
      return b;
    };
    this.drain = button('Drain…', 'danger', () => this.page.plan.drain(n.id));
    const actions = [
      n.admin ? open(n, 'Open its page', 'button') : null,
      router ? null : button('What if it goes', null, () => this.page.plan.removing(n.id)),
      this.drain,
    ].filter(Boolean);
    const swatch = el('span', { class: router ? 'swatch router' : 'swatch' });
    if (!router) {
      paint(swatch, this.page.state.seats.get(n.id));
    }
    box.replaceChildren(
      el('div', { class: 'head' }, el('h3', { id: 'node-title', class: 'cell' }, swatch, `${n.id}, ${n.role}`), button('Close', null, () => this.page.choose(null))),
      el('div', { class: 'buttons' }, ...actions),
      this.facts,
      el('div', { class: 'charts' }, ...Object.values(this.charts).map((c) => c.element)));
  }

  update(n, run) {
    const samples = (name) => run.series.values(name);
    const router = n.role === 'router';
    this.charts.deliveries.draw(samples('deliveries'), rate(run.deliveries));
    this.charts.messages.draw(samples('messages'), rate(run.messages));
    this.charts.conns.draw(samples('conns'), n.reached ? short(router ? n.conns : n.rooms) : none);
    this.charts.memory.draw(samples('memory'), n.reached && n.memory.used > 0 ? bytes(n.memory.used) : none,
      n.reached && n.memory.limit > 0 ? `of ${bytes(n.memory.limit)}` : '');
    this.drain.disabled = n.state !== 'alive' && n.state !== 'suspect';
    facts(this.facts, [
      ['State', state(n) + (n.reached && !n.ready ? ', not ready' : '')],
      ['Up', n.reached ? span(n.now - n.started) : none, n.reached ? `since ${date(n.started)}` : ''],
      ['Raft', n.leader ? 'leader' : n.voter ? 'voter' : 'no vote'],
      router ? ['Members', n.reached ? count(n.members) : none] : ['Owns', some(n.owned, 'partition')],
      router ? ['Clients at', n.listen || none] : ['Follows', some(n.following, 'partition')],
      ['Links', n.reached ? some(n.links, 'node') : none],
      ['Descriptors', n.reached && n.descriptors.limit > 0 ? `${short(n.descriptors.open)} of ${short(n.descriptors.limit)}` : none],
      ['Admin', n.admin || none],
      ['Run', n.incarnation],
      ...(n.reached && n.reasons.length > 0 ? [['Reasons', n.reasons.join(', ')]] : []),
    ]);
  }
}

// facts writes a list of [term, text, title] and keeps its elements.
export function facts(list, rows) {
  keyed(list, rows, (r) => r[0], (r) => el('div', {}, el('dt', {}, r[0]), el('dd')), (e, r) => {
    const value = e.lastChild;
    if (r[1] instanceof Node) {
      value.replaceChildren(r[1]);
    } else {
      set(value, r[1]);
    }
    value.title = r[2] ?? '';
    e.classList.toggle('wide', r[3] === true);
  });
}
