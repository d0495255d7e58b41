// The ring as SVG.
//
// The picture answers "who has how much, where are its copies, what moves". So
// partitions are grouped by owner: a shard is one arc, as long as what it owns.
// In hash order, which is the other way to draw it, 4093 partitions of 30
// shards are noise, and no shard has a size. Inside the arc each partition is
// one tick; ticks stand in several rows, because one row of 4093 would be
// three to a pixel. Ticks of one arc are sorted by who follows them (or, over
// a plan, by where they would go), so that they read as blocks. Middle: who
// moves to whom as chords, and in words what the whole is like.
//
// The cost is a few SVG elements per shard and none per partition: all ticks
// of a colour are one path.

import { RingState, natural, nobody, remembered } from './state.js';

export { RingState };

const ns = 'http://www.w3.org/2000/svg';
const turn = 2 * Math.PI;
const golden = 137.50776; // degrees
const many = 10; // from so many shards on, a label is one line
let views = 0;

// paint gives an element the colour of a shard's seat; undefined is nobody's.
export function paint(element, seat) {
  element.classList.remove('seat-0', 'seat-1', 'seat-2', 'seat-none');
  element.classList.add(seat === undefined ? 'seat-none' : `seat-${(seat + Math.floor(seat / 21)) % 3}`);
  if (seat !== undefined) {
    element.style.setProperty('--hue', ((25 + seat * golden) % 360).toFixed(1));
  }
}

// make is an SVG element with attributes.
function make(name, attributes = {}, ...children) {
  const e = document.createElementNS(ns, name);
  for (const [k, v] of Object.entries(attributes)) {
    e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

const say = (name, attributes, text) => {
  const e = make(name, attributes);
  e.textContent = text;
  return e;
};

// wide measures words as the ring's labels are written; bold is a name's.
const pen = document.createElement('canvas').getContext('2d');
function wide(words, bold) {
  pen.font = `${bold ? '600 ' : ''}12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
  return pen.measureText(words).width;
}

const number = new Intl.NumberFormat('en');
const f = (x) => x.toFixed(1);

// RingView draws a RingState into an element. Options: onNode(id or null) when
// a shard is chosen or let go, onPartition(row) when a tick is clicked.
export class RingView {
  constructor(container, { onNode = () => {}, onPartition = () => {} } = {}) {
    this.onNode = onNode;
    this.onPartition = onPartition;
    this.state = new RingState();
    this.options = {};
    this.groups = []; // what was drawn: one per shard, and one of nobody's
    this.shards = new Map(); // key: the elements of a shard, kept so that focus stays
    this.over = null; // key of the shard under the pointer or in focus
    this.tick = null; // partition under the pointer
    this.place = null; // key of the shard that Tab comes to
    this.shown = new Set(); // recent changes that have their chord already
    this.wanted = false;
    this.hatch = `ring-hatch-${++views}`;
    container.classList.add('ring');
    this.container = container;
    this.build();
    this.listen();
    this.size = new ResizeObserver(() => this.later());
    this.size.observe(container);
  }

  build() {
    const line = make('path', { d: 'M-2,2L2,-2M0,8L8,0M6,10L10,6', class: 'hatch-line' });
    const thin = make('path', { d: 'M0,0H8', class: 'hatch-line' });
    const cross = make('path', { d: 'M0,0L8,8M8,0L0,8', class: 'hatch-line' });
    const defs = make('defs', {},
      make('pattern', { id: this.hatch, width: 8, height: 8, patternUnits: 'userSpaceOnUse' }, line),
      make('pattern', { id: `${this.hatch}-x`, width: 8, height: 8, patternUnits: 'userSpaceOnUse' }, cross),
      make('pattern', { id: `${this.hatch}-thin`, width: 8, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(60)' }, thin));
    // Words in the middle stand on a plate that fades at its edge, so that
    // chords pass behind them.
    const glow = make('radialGradient', { id: `${this.hatch}-glow` },
      ...[[0.6, 0.9], [1, 0]].map(([offset, opacity]) => make('stop', { class: 'glow', offset, 'stop-opacity': opacity })));
    defs.append(glow);
    const layer = (name) => make('g', { class: name });
    this.layers = {
      leaders: layer('leaders'), plan: layer('plan'), copies: layer('copies'), underWay: layer('under-way'), passed: layer('passed'),
    };
    this.marks = layer('copies');
    this.holders = make('g', { role: 'group', 'aria-label': 'Shards of the ring' });
    this.centre = make('g', { class: 'centre' });
    for (const l of [...Object.values(this.layers), this.marks, this.centre]) {
      l.setAttribute('aria-hidden', 'true'); // the table beside the ring says it
    }
    this.marks.setAttribute('pointer-events', 'none');
    this.svg = make('svg', {}, defs, this.layers.leaders, this.layers.plan, this.layers.copies, this.layers.underWay, this.layers.passed,
      this.holders, this.marks, this.centre);
    this.container.replaceChildren(this.svg);
  }

  // draw shows a state. highlight is the id of a shard that is chosen, plan a
  // PlanDocument that is laid over the ring.
  draw(state, { highlight = null, plan = null } = {}) {
    this.state = state;
    this.options = { highlight, plan };
    this.later();
  }

  // later draws once in the next frame, however often it is asked to. A hidden
  // tab has no frames, so it costs nothing.
  later() {
    if (!this.wanted) {
      this.wanted = true;
      requestAnimationFrame(() => {
        this.wanted = false;
        this.render();
      });
    }
  }

  render() {
    const width = this.container.clientWidth;
    if (width === 0) {
      return;
    }
    this.arrange(width);
    this.layOut();
    this.drawShards();
    this.drawLabels();
    this.drawPlan();
    this.drawUnderWay();
    this.drawPassed();
    this.emphasise();
  }

  // arrange fixes the radii for a width in CSS pixels. In a wide box the names
  // stand in a column on each side, in a narrow one around the ring.
  arrange(width) {
    const groups = this.list();
    const columns = width >= 440;
    const radial = groups.length > 8 || groups.some((g) => g.owned < this.state.partitions / 20);
    this.counted = true;
    const margin = columns ? this.column(groups, width * 0.27) : radial ? 48 : 44;
    const outer = Math.max(70, Math.min((width - 2 * margin) / 2, 250));
    const height = 2 * outer + (columns ? 56 : radial ? 96 : 64);
    this.box = { width, height, columns, radial, x: width / 2, y: height / 2, outer, arc: outer - 11, band: outer - 15, inner: Math.round(outer * 0.72) };
    this.svg.setAttribute('viewBox', `0 0 ${f(width)} ${f(height)}`);
    this.svg.setAttribute('height', f(height));
    this.groups = groups;
  }

  // column is the room that names beside the ring need, with their lines; most
  // is the ring's share. With many shards the counts go first, then the ends of
  // names: the table has both.
  column(groups, most) {
    const lead = 28;
    const words = groups.map((g) => this.words(g));
    const names = Math.max(...words.map((w) => wide(w[0], true)), 20);
    const counts = Math.max(...words.map((w) => wide(w[1], false)), 20);
    if (groups.length <= many) {
      return Math.min(most, Math.max(names, counts) + lead);
    }
    this.counted = names + 8 + counts + lead <= most;
    return Math.min(most, this.counted ? names + 8 + counts + lead : names + lead);
  }

  // list is the shards, the ones that a plan adds, and nobody's partitions.
  list() {
    const { plan } = this.options;
    const list = this.state.shards();
    for (const s of plan?.shards ?? []) {
      if (s.new && !list.some((g) => g.id === s.id)) {
        list.push({ key: `${s.id}/new`, id: s.id, state: 'planned', owned: 0, following: 0 });
      }
    }
    const unowned = this.state.known ? this.state.unowned() : 0;
    if (unowned > 0) {
      list.push({ key: nobody, id: '', state: 'unowned', owned: unowned, following: 0 });
    }
    return list;
  }

  // words is a label's two parts.
  words(g) {
    if (g.key === nobody) {
      return ['no owner', number.format(g.owned)];
    }
    const then = this.options.plan?.shards.find((s) => s.id === g.id);
    let count = number.format(g.owned);
    if (then && then.owned_then !== then.owned) {
      const more = then.owned_then - then.owned;
      count += ` ${more < 0 ? '−' : '+'}${number.format(Math.abs(more))}`;
    }
    return [g.id, g.state === 'alive' || g.state === 'planned' ? count : `${count} ${g.state}`];
  }

  // layOut gives each group its angles and its partitions their cells.
  layOut() {
    const { groups, state, box } = this;
    const n = groups.length;
    const total = Math.max(1, groups.reduce((sum, g) => sum + g.owned, 0));
    const gap = turn * (n > 12 ? 0.004 : n > 1 ? 0.008 : 0);
    // Who owns nothing yet, or nothing any more, still has a place to see.
    const least = (g) => turn * (g.state === 'alive' ? 0.007 : n > 20 ? 0.011 : 0.018);
    const room = turn - groups.reduce((sum, g) => sum + gap + least(g), 0);
    const rows = Math.max(1, Math.ceil((total * 2.5) / (turn * box.inner)));
    let angle = -turn / 4;
    for (const g of groups) {
      g.from = angle + gap / 2;
      g.to = g.from + least(g) + (room * g.owned) / total;
      g.middle = (g.from + g.to) / 2;
      g.rows = rows;
      g.cells = [];
      angle = g.to + gap / 2;
    }
    const byKey = new Map(groups.map((g) => [g.key, g]));
    for (let p = 0; p < state.partitions; p++) {
      byKey.get(state.owner[p])?.cells.push(p);
    }
    this.going = new Map((this.options.plan?.moves ?? []).map((m) => [m.partition, m.to]));
    for (const g of groups) {
      g.cells.sort((a, b) => this.order(a, b));
      g.columns = Math.max(1, Math.ceil(g.cells.length / rows));
    }
    this.where = null; // partition: its group and cell, made when it is asked for
    this.byId = new Map(groups.map((g) => [g.id, g]));
  }

  order(a, b) {
    const { follower } = this.state;
    const to = (this.going.get(a) ?? '').localeCompare(this.going.get(b) ?? '');
    return to || natural(follower[a], follower[b]) || a - b;
  }

  point(r, angle) {
    return `${f(this.box.x + r * Math.cos(angle))},${f(this.box.y + r * Math.sin(angle))}`;
  }

  sector(from, to, r1, r2) {
    const large = to - from > Math.PI ? 1 : 0;
    if (to - from > turn - 0.001) { // a whole circle has no arc of its own
      const half = (from + to) / 2;
      return this.sector(from, half, r1, r2) + this.sector(half, to - 0.002, r1, r2);
    }
    return `M${this.point(r1, from)}A${f(r1)},${f(r1)} 0 ${large} 1 ${this.point(r1, to)}L${this.point(r2, to)}A${f(r2)},${f(r2)} 0 ${large} 0 ${this.point(r2, from)}Z`;
  }

  // cell is the middle angle and the outer radius of a group's i-th tick.
  cell(g, i) {
    const depth = (this.box.band - this.box.inner) / g.rows;
    return [
      g.from + ((Math.floor(i / g.rows) + 0.5) * (g.to - g.from)) / g.columns,
      this.box.band - (i % g.rows) * depth,
      depth,
    ];
  }

  // ticks is one path for those cells of g for which want says true.
  ticks(g, want = () => true) {
    const d = [];
    for (let i = 0; i < g.cells.length; i++) {
      if (want(g.cells[i])) {
        const [angle, r, depth] = this.cell(g, i);
        const c = Math.cos(angle);
        const s = Math.sin(angle);
        const end = r - Math.max(depth - 1, depth * 0.6);
        d.push(`M${f(this.box.x + r * c)},${f(this.box.y + r * s)}L${f(this.box.x + end * c)},${f(this.box.y + end * s)}`);
      }
    }
    return d.join('');
  }

  // thick is how wide g's ticks are, so that they touch nobody.
  thick(g) {
    const pitch = ((g.to - g.from) / g.columns) * this.box.inner;
    return f(Math.min(4, Math.max(0.7, pitch * 0.66)));
  }

  drawShards() {
    const seen = new Set();
    let before = null;
    for (const g of this.groups) {
      seen.add(g.key);
      const e = this.shards.get(g.key) ?? this.shard(g.key);
      this.shards.set(g.key, e);
      if (before ? before.nextSibling !== e.root : this.holders.firstChild !== e.root) {
        this.holders.insertBefore(e.root, before ? before.nextSibling : this.holders.firstChild);
      }
      before = e.root;
      this.drawShard(g, e);
    }
    for (const [key, e] of this.shards) {
      if (!seen.has(key)) {
        e.root.remove();
        this.shards.delete(key);
      }
    }
    if (!this.shards.has(this.place)) {
      this.place = this.groups[0]?.key ?? null;
    }
    for (const [key, e] of this.shards) {
      e.root.setAttribute('tabindex', key === this.place ? '0' : '-1');
    }
  }

  shard(key) {
    const e = {
      hit: make('path', { class: 'hit' }), ticks: make('path', { class: 'ticks' }), arc: make('path', { class: 'arc' }), hatch: make('path', { class: 'hatch' }),
      around: make('path', { class: 'around' }), name: make('text', { class: 'name' }), count: make('text', { class: 'count' }),
    };
    e.root = make('g', { role: 'button' }, e.hit, e.ticks, e.arc, e.hatch, e.around, e.name, e.count);
    e.root.ring = key;
    return e;
  }

  drawShard(g, e) {
    const { box } = this;
    e.root.setAttribute('class', `shard ${g.state}`);
    paint(e.root, g.key === nobody ? undefined : this.seat(g.id));
    const arc = this.sector(g.from, g.to, box.outer, box.arc);
    e.arc.setAttribute('d', arc);
    e.hatch.setAttribute('d', arc);
    const hatch = { draining: `url(#${this.hatch})`, dead: `url(#${this.hatch}-x)`, suspect: `url(#${this.hatch}-thin)` }[g.state];
    e.hatch.setAttribute('fill', hatch ?? 'none');
    e.hit.setAttribute('d', this.sector(g.from, g.to, box.outer, box.inner));
    e.around.setAttribute('d', this.sector(g.from - 0.006, g.to + 0.006, box.outer + 3, box.inner - 3));
    e.ticks.setAttribute('d', this.ticks(g));
    e.ticks.setAttribute('stroke-width', this.thick(g));
    e.root.setAttribute('aria-label', this.sentence(g));
    e.root.setAttribute('aria-pressed', String(g.id !== '' && g.id === this.options.highlight));
  }

  sentence(g) {
    return g.key === nobody ? `${g.owned} partitions without an owner` : `${g.id}, ${g.state}, owns ${g.owned}, follows ${g.following}`;
  }

  // seat is a shard's place among colours; shards of a plan come after all.
  seat(id) {
    const seat = this.state.seats.get(id);
    if (seat !== undefined) {
      return seat;
    }
    const fresh = (this.options.plan?.shards ?? []).filter((s) => !this.state.seats.has(s.id)).map((s) => s.id).sort(natural);
    const place = fresh.indexOf(id);
    return place < 0 ? undefined : this.state.seats.size + place;
  }

  drawLabels() {
    this.layers.leaders.replaceChildren();
    if (this.box.columns) {
      this.columns();
    } else {
      this.spokes();
    }
  }

  // columns puts the names in a column on each side, each as near to its arc as
  // the others leave room.
  columns() {
    const { box } = this;
    const oneLine = this.groups.length > many;
    const step = oneLine ? 15 : 30;
    for (const side of [1, -1]) {
      const list = this.groups.filter((g) => (Math.cos(g.middle) >= 0) === (side > 0));
      list.sort((a, b) => Math.sin(a.middle) - Math.sin(b.middle));
      const heights = spread(list.map((g) => box.y + (box.outer + 12) * Math.sin(g.middle)), step, 9 + (oneLine ? 0 : 6), box.height - 9 - (oneLine ? 0 : 6));
      list.forEach((g, i) => this.label(g, side, heights[i], oneLine));
    }
  }

  label(g, side, y, oneLine) {
    const { box } = this;
    const e = this.shards.get(g.key);
    const x = box.x + side * (box.outer + 26);
    const bend = box.x + side * Math.max(4, Math.sqrt(Math.max(0, (box.outer + 12) ** 2 - (y - box.y) ** 2)));
    const turnX = Math.abs(bend - box.x) > box.outer + 12 ? bend : box.x + side * Math.max(Math.abs(bend - box.x), (box.outer + 5) * Math.abs(Math.cos(g.middle)));
    this.layers.leaders.append(make('path', { class: 'leader', d: `M${this.point(box.outer + 5, g.middle)}L${f(turnX)},${f(y)}L${f(x - side * 4)},${f(y)}` }));
    const [name, count] = this.words(g);
    const anchor = side > 0 ? 'start' : 'end';
    e.name.textContent = cut(name, side > 0 ? box.width - x : x);
    e.count.textContent = this.counted ? count : '';
    this.at(e.name, x, oneLine ? y + 4 : y - 2, anchor);
    if (oneLine) {
      this.at(e.count, x + side * (wide(name, true) + 8), y + 4, anchor);
    } else {
      this.at(e.count, x, y + 12, anchor);
    }
  }

  // spokes writes short names around a small ring, along its radius when there
  // are many. The table beside the ring has them whole.
  spokes() {
    const { box } = this;
    for (const g of this.groups) {
      const e = this.shards.get(g.key);
      const [name] = this.words(g);
      e.count.textContent = '';
      e.name.textContent = cut(name, box.radial ? 42 : 40);
      const c = Math.cos(g.middle);
      const s = Math.sin(g.middle);
      const r = box.outer + 6;
      const x = box.x + r * c;
      const y = box.y + r * s;
      if (box.radial) {
        const degrees = (g.middle * 360) / turn + (c < 0 ? 180 : 0);
        this.at(e.name, x, y, c < 0 ? 'end' : 'start', `rotate(${f(degrees)} ${f(x)} ${f(y)}) translate(0 4)`);
      } else {
        this.at(e.name, x, y + 4 + s * 5, Math.abs(c) < 0.3 ? 'middle' : c < 0 ? 'end' : 'start');
      }
    }
  }

  at(text, x, y, anchor, transform = '') {
    text.setAttribute('x', f(x));
    text.setAttribute('y', f(y));
    text.setAttribute('text-anchor', anchor);
    text.setAttribute('transform', transform);
  }

  // chord is a curve from one angle to another that bends towards the middle.
  chord(from, to, width, seat, kind = '') {
    const r = this.box.inner - 5;
    const apart = Math.abs(((to - from + 3 * Math.PI) % turn) - Math.PI) / Math.PI; // 0 beside, 1 across
    const pull = r * (0.8 - 0.5 * apart);
    const path = make('path', {
      class: `chord ${kind}`,
      d: `M${this.point(r, from)}C${this.point(pull, from)} ${this.point(pull, to)} ${this.point(r, to)}`,
    });
    if (width > 0) {
      path.setAttribute('stroke-width', f(width));
    }
    paint(path, seat);
    return path;
  }

  // width is that of a chord of so many partitions, as they would lie side by
  // side, within what the eye can use.
  width(count) {
    return Math.max(1.25, Math.min(this.box.inner / 4, (count * turn * this.box.inner) / Math.max(1, this.state.partitions)));
  }

  // pairs draws what goes from whom to whom, one chord for each pair, leaving
  // and arriving side by side.
  pairs(layer, list) {
    const counts = new Map();
    for (const { from, to } of list) {
      const key = `${from}\n${to}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    for (const [key, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      const [from, to] = key.split('\n').map((id) => this.byId.get(id));
      if (from && to && from !== to) {
        layer.append(this.chord(from.middle, to.middle, this.width(count), this.seat(to.id)));
      }
    }
  }

  drawPlan() {
    const { plan } = this.options;
    this.layers.plan.replaceChildren();
    if (plan) {
      this.pairs(this.layers.plan, plan.moves);
    }
  }

  find(partition) {
    if (!this.where) {
      this.where = new Map();
      for (const g of this.groups) {
        g.cells.forEach((p, i) => this.where.set(p, [g, i]));
      }
    }
    return this.where.get(partition);
  }

  // drawUnderWay draws hand-offs and copies that are being made now.
  drawUnderWay() {
    const layer = this.layers.underWay;
    layer.replaceChildren();
    for (const m of this.state.moves.slice(0, 128)) {
      const [g, i] = this.find(m.partition) ?? [];
      const to = this.byId.get(m.to);
      if (g && to && g !== to) {
        layer.append(this.chord(this.cell(g, i)[0], to.middle, 0, this.seat(m.to), m.from === '' ? 'copying' : m.state));
      }
    }
  }

  // drawPassed draws each change of owner once, as a chord that fades.
  drawPassed() {
    this.state.expire(performance.now());
    const fresh = this.state.recent.filter((r) => !this.shown.has(r));
    this.shown = new Set(this.state.recent);
    if (fresh.length === 0) {
      return;
    }
    const batch = make('g');
    this.pairs(batch, fresh);
    this.layers.passed.append(batch);
    setTimeout(() => batch.remove(), remembered);
  }

  // emphasise shows one shard: the one pointed at, in focus, or chosen.
  emphasise() {
    const { plan, highlight } = this.options;
    const key = this.over ?? this.groups.find((g) => g.id !== '' && g.id === highlight)?.key ?? null;
    const chosen = this.groups.find((g) => g.key === key && key !== nobody) ?? null;
    for (const g of this.groups) {
      const e = this.shards.get(g.key);
      e.root.classList.toggle('dim', chosen ? g !== chosen : Boolean(plan));
      e.root.classList.toggle('shown', g === chosen);
      e.root.classList.toggle('chosen', g.id !== '' && g.id === highlight);
    }
    this.marks.replaceChildren();
    this.layers.copies.replaceChildren();
    this.layers.plan.setAttribute('visibility', chosen ? 'hidden' : 'visible');
    if (chosen) {
      this.showCopies(chosen);
    } else if (plan) {
      this.showPlan();
    }
    this.drawCentre(chosen);
  }

  mark(g, seat, want) {
    const path = make('path', { d: this.ticks(g, want), 'stroke-width': this.thick(g) });
    paint(path, seat);
    this.marks.append(path);
  }

  // showCopies draws where the copies of a shard's partitions live: its ticks in
  // its followers' colours, with chords to them, and in its own colour the ticks
  // of others that it follows.
  showCopies(chosen) {
    const { state } = this;
    const spans = new Map();
    chosen.cells.forEach((p, i) => {
      const id = state.id(state.follower[p]);
      const span = spans.get(id) ?? { first: i, count: 0 };
      span.last = i;
      span.count++;
      spans.set(id, span);
    });
    for (const [id, span] of spans) {
      const g = this.byId.get(id);
      this.mark(chosen, id === '' ? undefined : this.seat(id), (p) => state.id(state.follower[p]) === id);
      if (g && g !== chosen) {
        const middle = (this.cell(chosen, span.first)[0] + this.cell(chosen, span.last)[0]) / 2;
        this.layers.copies.append(this.chord(middle, g.middle, this.width(span.count), this.seat(id)));
      }
    }
    for (const g of this.groups) {
      if (g !== chosen) {
        this.mark(g, this.seat(chosen.id), (p) => state.follower[p] === chosen.key);
      }
    }
  }

  // showPlan draws each tick that would move in the colour of where it goes.
  showPlan() {
    for (const g of this.groups) {
      for (const to of new Set(g.cells.map((p) => this.going.get(p)).filter(Boolean))) {
        this.mark(g, this.seat(to), (p) => this.going.get(p) === to);
      }
    }
  }

  drawCentre(chosen) {
    const [big, ...more] = this.summary(chosen);
    const top = this.box.y - (more.length * 17) / 2 + 4;
    const plate = Math.min(this.box.inner * 0.8, 92);
    this.centre.replaceChildren(
      make('circle', { class: 'plate', fill: `url(#${this.hatch}-glow)`, cx: f(this.box.x), cy: f(this.box.y), r: f(plate) }),
      say('text', { class: 'big', x: f(this.box.x), y: f(top) }, cut(big, this.box.inner * 0.85)),
      ...more.map((line, i) => say('text', { class: 'more', x: f(this.box.x), y: f(top + 20 + i * 17) }, line)),
    );
  }

  summary(chosen) {
    const { state } = this;
    if (this.tick !== null) {
      const r = state.row(this.tick);
      const lines = [`partition ${r.partition}`, `owner ${r.owner || 'nobody'}`, `copy at ${r.follower || 'nobody'}`];
      const to = this.going.get(this.tick) ?? (r.wanted && r.wanted !== r.owner ? r.wanted : '');
      return to ? [...lines, `goes to ${to}`] : lines;
    }
    if (chosen) {
      const share = state.partitions ? (100 * chosen.owned) / state.partitions : 0;
      return [chosen.id, `owns ${number.format(chosen.owned)} (${share.toFixed(share < 10 ? 1 : 0)} %)`, `follows ${number.format(chosen.following)}`, chosen.state];
    }
    return this.whole();
  }

  whole() {
    const { state, options } = this;
    if (!state.known) {
      return ['…'];
    }
    if (state.instance === '') {
      return ['Not founded', 'waiting for shards'];
    }
    if (options.plan) {
      const { moves, ideal } = options.plan;
      return ['What if', `${number.format(moves.length)} would move`, `ideal ${number.format(ideal)}`];
    }
    const shards = this.groups.filter((g) => g.key !== nobody && g.state !== 'dead').length;
    const lines = [`${number.format(state.partitions)} partitions`, shards === 1 ? '1 shard' : `${shards} shards`];
    const unowned = state.unowned();
    if (unowned > 0) {
      return ['Not settled', `${number.format(unowned)} without an owner`, ...lines];
    }
    const pending = state.pending();
    if (pending > 0) {
      return ['Moving', `${number.format(pending)} to move`, ...lines];
    }
    if (state.singleCopy > 0) {
      return [state.settled ? 'Settled' : 'Copying', `${number.format(state.singleCopy)} with one copy`, ...lines];
    }
    return [state.settled ? 'Settled' : 'Not settled', ...lines];
  }

  listen() {
    const svg = this.svg;
    svg.addEventListener('pointermove', (e) => this.pointed(e));
    svg.addEventListener('pointerleave', () => this.overIs(null, null));
    svg.addEventListener('click', (e) => this.click(e));
    svg.addEventListener('keydown', (e) => this.key(e));
    svg.addEventListener('focusin', (e) => {
      const root = e.target.closest('.shard');
      if (root?.matches(':focus-visible')) {
        this.overIs(root.ring, null);
      }
    });
    svg.addEventListener('focusout', () => this.overIs(null, null));
  }

  overIs(key, tick) {
    if (key !== this.over || tick !== this.tick) {
      this.over = key;
      this.tick = tick;
      if (this.box) {
        this.emphasise();
      }
    }
  }

  pointed(e) {
    const root = e.target.closest('.shard');
    this.overIs(root ? root.ring : null, root ? this.hit(e) : null);
  }

  // hit is the partition whose tick is under the pointer, or null.
  hit(e) {
    const frame = this.svg.getBoundingClientRect();
    const scale = this.box.width / frame.width;
    const x = (e.clientX - frame.left) * scale - this.box.x;
    const y = (e.clientY - frame.top) * scale - this.box.y;
    const r = Math.hypot(x, y);
    const g = this.groups.find((o) => o.key === e.target.closest('.shard')?.ring);
    if (!g || r > this.box.band || r < this.box.inner) {
      return null;
    }
    const angle = (((Math.atan2(y, x) - g.from) % turn) + turn) % turn;
    const column = Math.floor((angle / (g.to - g.from)) * g.columns);
    const row = Math.min(g.rows - 1, Math.floor(((this.box.band - r) / (this.box.band - this.box.inner)) * g.rows));
    return g.cells[column * g.rows + row] ?? null;
  }

  click(e) {
    const root = e.target.closest('.shard');
    if (!root) {
      this.onNode(null);
      return;
    }
    const tick = this.hit(e);
    if (tick !== null) {
      this.onPartition(this.state.row(tick));
    }
    this.choose(root.ring);
  }

  choose(key) {
    const g = this.groups.find((o) => o.key === key);
    if (g && g.id !== '' && g.state !== 'planned') {
      this.place = key;
      this.onNode(g.id === this.options.highlight ? null : g.id);
    }
  }

  // key moves among the shards with the arrow keys; Tab leaves them.
  key(e) {
    const at = this.groups.findIndex((g) => g.key === e.target.closest('.shard')?.ring);
    if (at < 0) {
      return;
    }
    const n = this.groups.length;
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: n - 1 }[e.key];
    if (next !== undefined) {
      this.place = this.groups[(next + n) % n].key;
      for (const [key, { root }] of this.shards) {
        root.setAttribute('tabindex', key === this.place ? '0' : '-1');
      }
      this.shards.get(this.place).root.focus();
    } else if (e.key === 'Enter' || e.key === ' ') {
      this.choose(this.groups[at].key);
    } else if (e.key === 'Escape') {
      this.onNode(null);
    } else {
      return;
    }
    e.preventDefault();
  }
}

// cut shortens a name until it fits into so many pixels. What goes is its
// middle: names of one cluster differ at their ends.
function cut(name, room) {
  let short = name;
  for (let keep = name.length - 1; keep > 2 && wide(short, true) > room; keep--) {
    const head = Math.floor(keep * 0.4);
    short = `${name.slice(0, head)}…${name.slice(head - keep)}`;
  }
  return short;
}

// spread moves heights apart until neighbours are step apart, within from and
// to, and each as little as that needs. They come sorted.
export function spread(heights, step, from, to) {
  const out = [...heights];
  const gap = Math.min(step, out.length > 1 ? (to - from) / (out.length - 1) : step);
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.max(out[i], i === 0 ? from : out[i - 1] + gap);
  }
  for (let i = out.length - 1; i >= 0; i--) {
    out[i] = Math.min(out[i], i === out.length - 1 ? to : out[i + 1] - gap);
  }
  return out;
}
