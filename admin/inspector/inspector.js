// The page: one event stream in, and who listens to it.

import { $, el, set, named, brief, clock, count, some, span, keyed, rate, short, bytes } from './dom.js';
import { Port, why } from './port.js';
import { RingState, RingView, paint } from './ring.js';
import { Figures } from './figures.js';
import { Chart } from './chart.js';
import { Nodes } from './nodes.js';
import { Rooms } from './rooms.js';
import { Plan } from './plan.js';
import { Feed, tell } from './feed.js';
import { tabs } from './tabs.js';

// Times in milliseconds. A node speaks every second: after quiet the page says
// that its figures are old, after dead it asks anew, since a conn that was cut
// without a word looks like one that has nothing to say.
const quiet = 4000;
const dead = 9000;
const firstWait = 500;
const longestWait = 8000;

const percent = (p) => `${p.toFixed(p < 9.95 ? 1 : 0)} %`;

class Page {
  constructor() {
    this.port = new Port(() => this.askToken());
    this.state = new RingState();
    this.figures = new Figures();
    this.chosen = null; // id of a node
    this.heard = 0; // when the last event came, in milliseconds; 0 is never
    this.since = 0; // since when what is shown is old, Unix milliseconds; 0 is not at all
    this.silentSince = 0;
    this.view = new RingView($('ring'), { onNode: (id) => this.choose(id), onPartition: (row) => this.partition(row) });
    this.nodes = new Nodes(this);
    this.rooms = new Rooms(this);
    this.plan = new Plan(this);
    this.feed = new Feed();
    this.charts = this.totals();
    this.stop = null; // ends the stream that is open
    this.hurry = () => {}; // ends the wait before the next try
    this.controls();
  }

  totals() {
    const charts = {
      deliveries: new Chart('Deliveries/s', rate, 'Messages written to members, by all routers'),
      messages: new Chart('Messages/s', rate, 'What clients sent, at all routers'),
      conns: new Chart('Connections', short, 'Open WebSockets at all routers'),
      memory: new Chart('Fullest memory', percent, 'Resident memory of its limit, at the node that is fullest'),
    };
    $('totals').replaceChildren(...Object.values(charts).map((c) => c.element));
    return charts;
  }

  controls() {
    tabs($('tabs').querySelector('[role="tablist"]'), (name) => this.rooms.visible(name === 'rooms'));
    $('retry').addEventListener('click', () => this.hurry());
    $('clear-plan').addEventListener('click', () => this.plan.clear());
    $('ask-form').addEventListener('submit', (e) => {
      e.preventDefault();
      this.port.use($('token').value.trim());
      $('token').value = '';
      this.hurry();
    });
    setInterval(() => this.watch(), 1000);
  }

  // run keeps one stream open for as long as the page lives.
  async run() {
    for (let wait = firstWait; ;) {
      const begun = performance.now();
      let error = null;
      try {
        this.stop = new AbortController();
        this.dialled = begun;
        await this.port.stream('/v1/events', { signal: this.stop.signal, on: (name, data) => this.take(name, data) });
      } catch (e) {
        error = e;
      }
      if (error?.status === 401) {
        await this.pause(Infinity);
        continue;
      }
      if (performance.now() - begun > longestWait && this.heard > begun) {
        wait = firstWait; // it worked for a while
      }
      this.lose();
      const next = error?.retryAfter ? Math.max(wait, error.retryAfter * 1000) : wait * (0.75 + Math.random() / 2);
      this.say(error, Date.now() + next);
      await this.pause(next);
      wait = Math.min(wait * 2, longestWait);
    }
  }

  pause(time) {
    return new Promise((done) => {
      this.hurry = done;
      if (time !== Infinity) {
        setTimeout(done, time);
      }
    });
  }

  take(name, data) {
    this.heard = performance.now();
    if (this.since !== 0 || document.body.dataset.live !== 'live') {
      this.live();
    }
    if (name === 'ring') {
      this.feed.begin();
    }
    if (this.state.apply(name, data)) {
      this.show();
    } else if (name === 'nodes') {
      this.figures.take(data);
      this.showFigures();
    } else if (name === 'feed') {
      this.feed.add(data);
      this.latest(data);
    } else if (name === 'lost') {
      this.feed.missed(data.events);
    } else if (name === 'error') {
      this.refused = data;
    }
  }

  // live says that what is shown is true again.
  live() {
    this.since = 0;
    this.failed = null;
    document.body.dataset.live = 'live';
    $('lost').hidden = true;
    $('ask').hidden = true;
    $('main').hidden = false;
    set($('ask-error'), '');
  }

  // lose keeps the last picture, but says that it is one.
  lose() {
    if (this.since === 0) {
      this.since = Date.now();
    }
    if (document.body.dataset.live !== 'never') {
      document.body.dataset.live = 'stale';
    }
    this.pill();
  }

  say(error, next) {
    const reason = this.refused ? `${this.refused.message}.` : error ? why(error) : 'The stream ended.';
    this.refused = null;
    this.failed = { reason, next };
    $('lost').hidden = false;
    this.countdown();
  }

  countdown() {
    if (!this.failed) {
      return;
    }
    const left = Math.max(0, Math.ceil((this.failed.next - Date.now()) / 1000));
    const what = document.body.dataset.live === 'never'
      ? `No figures yet since ${clock(this.since)}.`
      : `Lost this node at ${clock(this.since)}: all that is shown is from then.`;
    set($('lost-text'), `${what} ${this.failed.reason}`);
    set($('wait'), left > 0 ? `Next try in ${left} s.` : 'Trying.'); // hidden from a screen reader, which would repeat it every second
  }

  // watch is called every second: it notices silence.
  watch() {
    const still = performance.now() - Math.max(this.heard, this.dialled ?? 0);
    if (!this.failed && document.body.dataset.live === 'live' && still > quiet) {
      this.lose();
      this.say(new Error(), Date.now() + dead - still);
    }
    if (still > dead && this.stop && $('ask').hidden) {
      this.dialled = performance.now();
      this.stop.abort();
    }
    this.countdown();
  }

  askToken() {
    set($('ask-error'), this.port.token === '' ? '' : 'This token is not one of this node.');
    this.port.use('');
    $('main').hidden = true;
    $('lost').hidden = true;
    this.failed = null;
    if ($('ask').hidden) {
      $('ask').hidden = false;
      $('token').focus();
    }
    set($('health'), 'token needed').dataset.tone = 'soft';
  }

  // show draws what a ring or a change said.
  show() {
    const { state } = this;
    set($('cluster'), state.cluster || 'Cluster');
    set($('asked'), `as ${state.asked} sees it`);
    document.title = `${state.cluster || 'Roomring'} · ${state.asked}`;
    const unfounded = state.instance === '';
    $('unfounded').hidden = !unfounded;
    if (unfounded) {
      const here = state.nodes.filter((n) => n.role === 'shard' && n.state !== 'dead').length;
      set($('unfounded'), `The cluster is not founded yet: ${some(here, 'shard')} here, waiting for as many as --bootstrap-expect says.`);
    }
    this.pill();
    this.draw();
    this.table();
    this.plan.shards(state);
  }

  draw() {
    this.view.draw(this.state, { highlight: this.chosen, plan: this.plan.document });
  }

  pill() {
    const [text, tone] = this.health();
    set($('health'), text).dataset.tone = tone;
  }

  health() {
    const { state } = this;
    if (document.body.dataset.live === 'never') {
      return ['connecting', 'soft'];
    }
    if (document.body.dataset.live === 'stale') {
      return ['figures are old', 'bad'];
    }
    if (state.instance === '') {
      return ['not founded', 'warn'];
    }
    const unowned = state.unowned();
    if (unowned > 0) {
      return [`${count(unowned)} without owner`, 'bad'];
    }
    const pending = state.pending();
    if (pending > 0) {
      return [`${count(pending)} to move`, 'warn'];
    }
    if (state.settled) {
      return state.singleCopy > 0 ? ['settled, single copies', 'warn'] : ['settled', 'good'];
    }
    return [state.singleCopy > 0 ? `${count(state.singleCopy)} with one copy` : 'not settled', 'warn'];
  }

  table() {
    const { state } = this;
    const fill = (row, s) => {
      row.classList.toggle('picked', s.id === this.chosen);
      const [name, condition, owns, share, follows] = row.children;
      paint(name.querySelector('.swatch'), state.seats.get(s.id));
      named(name.querySelector('button'), s.id);
      set(condition, s.state);
      set(owns, count(s.owned));
      set(share, state.partitions ? `${((100 * s.owned) / state.partitions).toFixed(1)} %` : '');
      set(follows, count(s.following));
    };
    const make = (s) => {
      const button = el('button', { type: 'button', class: 'link' });
      button.addEventListener('click', () => this.choose(this.chosen === s.id ? null : s.id));
      return el('tr', {}, el('th', { scope: 'row' }, el('span', { class: 'cell' }, el('span', { class: 'swatch' }), button)),
        el('td'), el('td', { class: 'n' }), el('td', { class: 'n' }), el('td', { class: 'n' }));
    };
    keyed($('ring-rows'), state.shards(), (s) => s.key, make, fill);
  }

  showFigures() {
    const c = this.figures.cluster;
    const samples = (name) => c.series.values(name);
    this.charts.deliveries.draw(samples('deliveries'), rate(c.deliveries));
    this.charts.messages.draw(samples('messages'), rate(c.messages));
    this.charts.conns.draw(samples('conns'), short(c.conns));
    const full = c.fullest;
    this.charts.memory.draw(samples('memory'), full ? percent(100 * c.memory) : '–',
      full ? `${brief(full.id)}: ${bytes(full.memory.used)}` : '');
    this.nodes.show();
    this.unreached();
  }

  // unreached says of which nodes figures are missing.
  unreached() {
    const silent = this.figures.silent();
    const incomplete = silent.length > 0 || this.figures.document?.complete === false;
    if (incomplete && this.silentSince === 0) {
      this.silentSince = Date.now();
    } else if (!incomplete) {
      this.silentSince = 0;
    }
    $('silent').hidden = !incomplete;
    if (incomplete) {
      const names = silent.slice(0, 5).map((n) => n.id).join(', ') + (silent.length > 5 ? ` and ${silent.length - 5} more` : '');
      set($('silent'), `Part of the cluster cannot be reached since ${clock(this.silentSince)}: ${names ? `no answer from ${names}` : 'some nodes gave no answer'}. Totals are without them.`);
    }
  }

  latest(event) {
    if (event.kind === 'settled' || event.kind === 'unsettled') {
      return; // the pill says so
    }
    const { word, what } = tell(event);
    $('latest').replaceChildren(el('time', {}, clock(event.at)), what ? `${word}: ${what}` : event.reason || word);
  }

  // partition follows a click on a tick: the shard is chosen by the ring itself.
  partition(row) {
    set($('ring-hint'), `Partition ${row.partition}: ${row.owner || 'nobody'} owns it, ${row.follower || 'nobody'} follows.`);
  }

  choose(id) {
    if (this.chosen === id) {
      return;
    }
    this.chosen = id;
    this.draw();
    this.table();
    this.nodes.show();
  }
}

const page = new Page();
page.run();
