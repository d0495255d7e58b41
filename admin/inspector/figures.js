// Rates and their last five minutes, from the NodesDocument of every second.

const kept = 300; // samples: one a second

// least is the time in milliseconds below which two readings make no rate.
const least = 200;

// Figures keeps, per run of a node, what it told last and the series of its
// rates; and the series of the whole cluster.
export class Figures {
  constructor() {
    this.document = null;
    this.runs = new Map(); // key: {figures, messages, deliveries, series}
    this.cluster = { messages: null, deliveries: null, conns: null, memory: null, fullest: '', series: new Series() };
  }

  // take is told a NodesDocument. at is when it came, in Unix milliseconds.
  take(document, at = Date.now()) {
    this.document = document;
    const seen = new Set();
    for (const n of document.nodes) {
      const key = `${n.id}/${n.incarnation}`;
      seen.add(key);
      this.runs.set(key, this.node(n, this.runs.get(key), at));
    }
    for (const key of this.runs.keys()) {
      if (!seen.has(key)) {
        this.runs.delete(key); // forgotten by the cluster too
      }
    }
    this.sum(document, at);
  }

  node(n, before, at) {
    const run = before ?? { series: new Series(), figures: null, messages: null, deliveries: null };
    if (!n.reached) {
      run.messages = null;
      run.deliveries = null;
    } else if (before && before.told) {
      // Each rate is over the node's own clock: when the page heard of it does
      // not matter. A total that fell was another process's.
      const seconds = (n.now - before.told.now) / 1000;
      if (seconds * 1000 >= least) {
        run.messages = slope(before.told.messages_total, n.messages_total, seconds);
        run.deliveries = slope(before.told.deliveries_total, n.deliveries_total, seconds);
      } else if (seconds < 0) {
        run.messages = null;
        run.deliveries = null;
      }
    }
    if (n.reached && (!run.told || n.now - run.told.now >= least || n.now < run.told.now)) {
      run.told = { now: n.now, messages_total: n.messages_total, deliveries_total: n.deliveries_total };
    }
    run.figures = n;
    run.series.add(at, {
      messages: run.messages, deliveries: run.deliveries,
      conns: n.reached ? (n.role === 'router' ? n.conns : n.rooms) : null,
      memory: n.reached ? n.memory.used : null,
    });
    return run;
  }

  // sum is what clients see: routers count each message and each delivery once,
  // shards would count them again. Memory is of the fullest node, against its
  // own limit: nodes of one process share memory, so a sum would count it
  // several times, and it is one full node that gets into trouble.
  sum(document, at) {
    const c = this.cluster;
    c.messages = c.deliveries = c.conns = c.memory = null;
    c.fullest = null;
    for (const run of this.runs.values()) {
      const n = run.figures;
      if (!n.reached) {
        continue;
      }
      if (n.role === 'router') {
        c.conns = (c.conns ?? 0) + n.conns;
        c.messages = plus(c.messages, run.messages);
        c.deliveries = plus(c.deliveries, run.deliveries);
      }
      const part = n.memory.limit > 0 ? n.memory.used / n.memory.limit : 0;
      if (n.memory.used > 0 && (c.memory === null || part > c.memory)) {
        c.memory = part;
        c.fullest = n;
      }
    }
    c.series.add(at, { messages: c.messages, deliveries: c.deliveries, conns: c.conns, memory: c.memory === null ? null : c.memory * 100 });
  }

  run(id) {
    let found = null;
    for (const run of this.runs.values()) {
      if (run.figures.id === id && (!found || run.figures.state !== 'dead')) {
        found = run;
      }
    }
    return found;
  }

  // silent lists living nodes that gave no answer.
  silent() {
    return (this.document?.nodes ?? []).filter((n) => n.state !== 'dead' && !n.reached);
  }
}

const plus = (a, b) => (b === null ? a : (a ?? 0) + b);
const slope = (a, b, seconds) => (b >= a ? (b - a) / seconds : null);

// Series is the last samples of a few named values; null is a hole.
export class Series {
  constructor() {
    this.samples = [];
  }

  add(at, values) {
    this.samples.push({ at, ...values });
    if (this.samples.length > kept) {
      this.samples.shift();
    }
  }

  // values are [at, value] of one name.
  values(name) {
    return this.samples.map((s) => [s.at, s[name]]);
  }
}
