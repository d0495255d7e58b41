// The cluster as one node's event stream tells it.

// remembered is how long a change of owner counts as just now, in
// milliseconds: as long as the ring draws it.
export const remembered = 2200;

// natural sorts s2 before s10.
const collator = new Intl.Collator('en', { numeric: true });
export const natural = (a, b) => collator.compare(a, b);

// nobody stands for no owner, no follower.
export const nobody = '';

// RingState takes the events `ring` and `change` (RingEvent in the admin API).
//
// Invariant: rows name runs by key, not by their place in nodes, because a
// change may bring another list of nodes and leaves most rows out.
export class RingState {
  constructor() {
    this.known = false; // whether a ring was heard
    this.asked = '';
    this.cluster = '';
    this.instance = ''; // '' until the cluster is founded
    this.settled = false;
    this.singleCopy = 0;
    this.partitions = 0;
    this.voters = [];
    this.leader = '';
    this.version = 0;
    this.nodes = []; // {key, id, incarnation, role, state, zone, admin, owned, following}
    this.runs = new Map(); // by key: those of nodes, and those that rows still name
    this.owner = []; // by partition: key of a run, or nobody
    this.follower = [];
    this.wanted = [];
    this.moves = []; // {partition, from, to, state}, from and to being ids
    this.recent = []; // {partition, from, to, at}: owners that changed just now, as ids
    this.seats = new Map(); // id of a shard: its place among colours, for as long as the page lives
  }

  // apply takes one event and reports whether it was one of the two. now is in
  // milliseconds, of any clock that does not jump.
  apply(name, data, now = performance.now()) {
    if (name !== 'ring' && name !== 'change') {
      return false;
    }
    this.header(data);
    if (name === 'ring') {
      this.begin(data);
      this.recent = [];
    }
    this.expire(now);
    this.rows(data, name === 'change' ? now : null);
    return true;
  }

  header(data) {
    this.asked = data.asked;
    this.cluster = data.cluster;
    this.instance = data.instance;
    this.settled = data.settled;
    this.singleCopy = data.single_copy;
    this.voters = data.voters ?? [];
    this.leader = data.leader;
    this.version = data.version;
    this.moves = data.moves ?? [];
    this.nodes = (data.nodes ?? []).map((n) => ({ ...n, key: `${n.id}/${n.incarnation}` }));
    this.runs = new Map(this.nodes.map((n) => [n.key, n]));
    const shards = this.nodes.filter((n) => n.role === 'shard').map((n) => n.id).sort(natural);
    for (const id of shards) {
      if (!this.seats.has(id)) {
        this.seats.set(id, this.seats.size);
      }
    }
  }

  begin(data) {
    this.known = true;
    this.partitions = data.partitions;
    this.owner = new Array(this.partitions).fill(nobody);
    this.follower = new Array(this.partitions).fill(nobody);
    this.wanted = new Array(this.partitions).fill(nobody);
  }

  // rows writes the rows of an event; at is null when nothing happened just now.
  rows(data, at) {
    const key = (place) => this.nodes[place]?.key ?? nobody;
    for (const [partition, owner, follower, wanted] of data.rows ?? []) {
      if (partition >= this.partitions) {
        continue;
      }
      const before = this.owner[partition];
      const after = key(owner);
      this.owner[partition] = after;
      this.follower[partition] = key(follower);
      this.wanted[partition] = key(wanted);
      if (at !== null && before !== after && before !== nobody && after !== nobody) {
        this.recent.push({ partition, from: this.id(before), to: this.id(after), at });
      }
    }
  }

  // expire forgets changes that are drawn no more.
  expire(now) {
    if (this.recent.length > 0) {
      this.recent = this.recent.filter((r) => now - r.at < remembered);
    }
  }

  // id is the node's id in a run's key: an id has no slash.
  id(key) {
    return key.slice(0, key.indexOf('/'));
  }

  // shards lists the runs that the ring shows, in natural order: those that
  // are known, and those that rows still name. A dead run that owns nothing is
  // left out when another run of its id is there.
  shards() {
    const owned = new Map();
    for (const key of this.owner) {
      if (key !== nobody) {
        owned.set(key, (owned.get(key) ?? 0) + 1);
      }
    }
    const list = this.nodes.filter((n) => n.role === 'shard');
    for (const key of owned.keys()) {
      if (!this.runs.has(key)) {
        list.push({ key, id: this.id(key), role: 'shard', state: 'dead', zone: '', admin: '', following: 0 });
      }
    }
    return list
      .map((n) => ({ ...n, owned: owned.get(n.key) ?? 0 }))
      .filter((n) => n.state !== 'dead' || n.owned > 0 || !list.some((o) => o.id === n.id && o.state !== 'dead'))
      .sort((a, b) => natural(a.id, b.id) || natural(a.key, b.key));
  }

  // row is what is known of one partition, as ids.
  row(partition) {
    return {
      partition,
      owner: this.id(this.owner[partition] ?? nobody),
      follower: this.id(this.follower[partition] ?? nobody),
      wanted: this.id(this.wanted[partition] ?? nobody),
    };
  }

  // unowned counts partitions that nobody owns.
  unowned() {
    return this.owner.reduce((n, key) => n + (key === nobody ? 1 : 0), 0);
  }

  // pending counts partitions that are not where they should be.
  pending() {
    let n = 0;
    for (let p = 0; p < this.partitions; p++) {
      if (this.wanted[p] !== nobody && this.wanted[p] !== this.owner[p]) {
        n++;
      }
    }
    return n;
  }
}
