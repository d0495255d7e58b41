// Rooms: find one, list the busiest, the fullest, or all by name, and hear one.

import { $, el, set, keyed, foreign, visible, count, short, rate, bytes, clock, none, some } from './dom.js';
import { why } from './port.js';
import { facts } from './nodes.js';

const every = 2000; // milliseconds between two questions, while the tab is open
const hottest = 20;
const page = 100; // rooms by name at a time
const tailed = 200; // messages that a tail keeps

const text = new TextDecoder('utf-8', { fatal: true });

export class Rooms {
  constructor(owner) {
    this.owner = owner;
    this.open = false;
    this.timer = 0;
    this.asking = null; // ends the list's question under way
    this.name = null; // of the room that is found
    this.last = null; // {at, epoch, offset}: what its rate begins from
    this.pages = []; // rooms by name, so far
    this.tailing = null; // ends the tail
    $('find').addEventListener('submit', (e) => {
      e.preventDefault();
      this.find($('room').value);
    });
    $('found-close').addEventListener('click', () => this.close());
    $('tail').addEventListener('click', () => (this.tailing ? this.stop('Stopped.') : this.tail()));
    $('payload').addEventListener('change', () => {
      if (this.tailing) {
        this.tail();
      }
    });
    $('sort').addEventListener('change', () => this.sorted());
    $('prefix').addEventListener('input', () => this.sorted());
    $('rooms-more').addEventListener('click', () => this.more());
  }

  get sort() {
    return $('sort').querySelector('input:checked').value;
  }

  // visible is told whether the tab is open: what is not seen is not asked for.
  visible(open) {
    this.open = open;
    clearTimeout(this.timer);
    if (open) {
      this.tick();
    }
  }

  async tick() {
    clearTimeout(this.timer);
    if (this.owner.port && $('ask').hidden) {
      await Promise.all([this.sort === 'name' && this.pages.length > 0 ? null : this.list(), this.name === null ? null : this.refresh()]);
    }
    clearTimeout(this.timer);
    if (this.open) {
      this.timer = setTimeout(() => this.tick(), every);
    }
  }

  sorted() {
    this.pages = [];
    $('prefix-line').hidden = this.sort !== 'name';
    this.list();
  }

  query(after) {
    const q = new URLSearchParams({ sort: this.sort, limit: this.sort === 'name' ? page : hottest });
    if (this.sort === 'name' && $('prefix').value !== '') {
      q.set('prefix', $('prefix').value);
    }
    if (after !== undefined) {
      q.set('after', after);
    }
    return `/v1/rooms?${q}`;
  }

  async list(after) {
    this.asking?.abort();
    const mine = new AbortController();
    this.asking = mine;
    try {
      const d = await this.owner.port.ask(this.query(after), { signal: mine.signal });
      this.pages = after === undefined ? d.rooms : [...this.pages, ...d.rooms];
      this.show(d);
    } catch (e) {
      if (e.name !== 'AbortError') {
        this.note(why(e));
        if (this.pages.length === 0) {
          set($('rooms-empty'), 'No list of rooms.');
        }
      }
    }
  }

  more() {
    this.list(this.pages[this.pages.length - 1].room);
  }

  note(message) {
    set($('rooms-note'), message);
    $('rooms-note').hidden = message === '';
  }

  show(d) {
    const missing = d.missing.length > 0 ? `No answer from ${d.missing.join(', ')}: rooms there are not listed.` : '';
    const unowned = d.unowned > 0 ? `${some(d.unowned, 'partition')} without an owner ${d.unowned === 1 ? 'is' : 'are'} not listed.` : '';
    this.note([missing, unowned].filter(Boolean).join(' '));
    set($('hot-title'), { messages: `Rooms, the ${hottest} busiest`, members: `Rooms, the ${hottest} fullest`, name: 'Rooms by name' }[this.sort]);
    $('rooms-box').hidden = this.pages.length === 0;
    $('rooms-empty').hidden = this.pages.length > 0;
    set($('rooms-empty'), this.sort === 'name' && $('prefix').value !== '' ? 'No room has a name that begins so.' : this.sort === 'messages'
      ? 'No room has had a message in the last seconds.' : 'There are no rooms yet. A room is created when somebody joins it.');
    $('rooms-more').hidden = this.sort !== 'name' || !d.more;
    keyed($('room-rows'), this.pages, (r) => r.room, (r) => this.row(r), (row, r) => {
      const [, messages, members, at, partition, offset, kept] = row.children;
      set(messages, this.sort === 'messages' || r.messages_per_second > 0 ? rate(r.messages_per_second) : none);
      set(members, short(r.members));
      set(at, r.owner);
      set(partition, r.partition);
      set(offset, count(r.offset));
      set(kept, short(r.kept));
      kept.title = bytes(r.bytes);
    });
  }

  row(r) {
    const button = el('button', { type: 'button', class: 'link' }, foreign(r.room));
    button.addEventListener('click', () => {
      $('room').value = r.room;
      this.find(r.room);
      $('found').scrollIntoView({ block: 'nearest' });
    });
    return el('tr', {}, el('th', { scope: 'row' }, button), el('td', { class: 'n' }), el('td', { class: 'n' }), el('td'), el('td', { class: 'n' }), el('td', { class: 'n' }), el('td', { class: 'n' }));
  }

  async find(name) {
    if (name !== this.name) {
      this.stop('');
      $('tail-box').hidden = true;
      $('tail-rows').replaceChildren();
      this.last = null;
    }
    this.name = name;
    await this.refresh();
  }

  async refresh() {
    const { name } = this;
    try {
      const d = await this.owner.port.ask(`/v1/room?${new URLSearchParams({ room: name })}`);
      if (name === this.name) {
        set($('room-error'), '');
        this.found(d);
      }
    } catch (e) {
      if (name === this.name) {
        this.missing(name, e);
      }
    }
  }

  missing(name, e) {
    const absent = e.code === 'not_found';
    set($('room-error'), absent ? `There is no room “${visible(name)}” now.` : why(e));
    if (absent || e.status === 400) {
      this.close();
    }
  }

  close() {
    this.stop('');
    this.name = null;
    this.last = null;
    $('found').hidden = true;
  }

  found(d) {
    const now = performance.now();
    const { last } = this;
    const seconds = last ? (now - last.at) / 1000 : 0;
    const speed = last && last.epoch === d.epoch && d.offset >= last.offset && seconds > 0.5 ? (d.offset - last.offset) / seconds : null;
    if (!last || seconds > 0.5) {
      this.last = { at: now, epoch: d.epoch, offset: d.offset };
      this.speed = speed;
    }
    if ($('found-title').dataset.name !== d.room) {
      $('found-title').dataset.name = d.room;
      $('found-title').replaceChildren(foreign(d.room));
    }
    $('found').hidden = false;
    const routers = Object.entries(d.routers).sort((a, b) => b[1] - a[1]);
    facts($('found-facts'), [
      ['Partition', d.partition], ['Owner', d.owner || 'nobody'], ['Followers', d.followers.join(', ') || 'none'],
      ['Term', count(d.term), generation(d.term)], ['Epoch', d.epoch || none], ['Offset', count(d.offset)],
      ['Messages/s', rate(this.speed)], ['Members', count(d.members)], ['Kept', `${count(d.kept)}, ${bytes(d.bytes)}`],
      ['Routers', routers.length === 0 ? 'none attached' : routers.map(([id, n]) => `${id} ${short(n)}`).join(' · '), 'Members by router', true],
    ]);
  }

  async tail() {
    this.stop('');
    const mine = new AbortController();
    this.tailing = mine;
    $('tail').setAttribute('aria-pressed', 'true');
    set($('tail'), 'Stop');
    set($('tail-note'), 'Listening.');
    const q = new URLSearchParams({ room: this.name });
    if ($('payload').checked) {
      q.set('payload', '1');
    }
    let message = 'The tail ended.';
    try {
      await this.owner.port.stream(`/v1/tail?${q}`, { signal: mine.signal, on: (name, data) => {
        if (name === 'error') {
          message = why({ status: 1, message: data.message });
        } else {
          this.heard(name, data);
        }
      } });
    } catch (e) {
      if (e.name === 'AbortError') {
        return;
      }
      message = e.status === 403 && $('payload').checked
        ? 'This token may only read: payloads need the full token (--admin-token). Metadata needs less.' : why(e);
    }
    if (this.tailing === mine) {
      this.stop(message);
    }
  }

  stop(message) {
    this.tailing?.abort();
    this.tailing = null;
    $('tail').setAttribute('aria-pressed', 'false');
    set($('tail'), 'Tail');
    if (message) {
      set($('tail-note'), message);
    }
  }

  heard(name, data) {
    $('tail-box').hidden = false;
    const rows = $('tail-rows');
    const wide = (words, kind) => el('tr', { class: kind }, el('td', { colspan: 7 }, words));
    if (name === 'open') {
      set($('tail-note'), `Listening at ${data.owner}, above offset ${count(data.offset)}.`);
      if (rows.firstChild) {
        rows.prepend(wide(data.reset ? `The room began anew: epoch ${data.epoch}` : `Now at ${data.owner}`, 'gap'));
      }
    } else if (name === 'gap') {
      rows.prepend(wide(`Offsets ${count(data.from)} to ${count(data.to)} came too fast to be shown`, 'gap'));
    } else if (name === 'message') {
      rows.prepend(el('tr', {}, el('td', { class: 'n' }, count(data.offset)), el('td', {}, clock(data.seen)), el('td', {}, data.kind), el('td', { class: 'n' }, count(data.bytes)),
        el('td', {}, data.publisher), el('td', { class: 'mono', title: data.conn }, /^0*$/.test(data.conn) ? 'HTTP' : data.conn.slice(-6)), el('td', {}, payload(data))));
    }
    while (rows.children.length > tailed) {
      rows.lastChild.remove();
    }
  }
}

// generation reads a term: the upper half counts how often the cluster was
// founded anew.
const generation = (term) => (term >= 2 ** 32 ? `generation ${Math.floor(term / 2 ** 32)}, change ${term % 2 ** 32}` : '');

// payload shows text as text, other bytes in hex, cut to what one can look at.
function payload({ payload: base64, kind }) {
  if (base64 === undefined) {
    return none;
  }
  const raw = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const head = raw.subarray(0, 256);
  const hex = () => [...head.subarray(0, 32)].map((b) => b.toString(16).padStart(2, '0')).join(' ') + (raw.length > 32 ? ' …' : '');
  if (kind !== 'text') {
    return el('span', { class: 'mono' }, hex());
  }
  try {
    return foreign(text.decode(raw).slice(0, 500));
  } catch {
    return el('span', { class: 'mono' }, hex());
  }
}
