// What is right in a room, judged by what members hear. No sockets, no clock, nothing of the browser: it is
// told what was sent, heard and closed, and when, so that it is tested without any.
//
// Every member asks for numbers (num=1). A payload is "RUN.SOCKET.SEQ": which page, which of its
// publisher's sockets, and its number there. What members hear is held against one ledger per life
// (epoch) of the room: at each offset one message, the same for all, and each offset once, in order.
//
//   Acknowledged  a message that any member heard. Nothing else is, to a raw client.
//   Lost          one that a member must have passed: an offset that it was not given, or a number that its
//                 socket's later messages have overtaken, or acknowledged long ago and still not there.
//                 What comes later after all is not lost, but reordered.
//   Doubled       one that comes again at its offset, or stands at two offsets of a life.
//   Reordered     one that comes after a later one, or stands behind a later one of its socket, or where
//                 another member heard something else.
//   Unknown       one whose socket closed before anybody heard it. It breaks no promise.
//
// A gap or a reset that a member was told of excuses what it took: it is counted as what it is.

const maxSlots = 2000; // of a ledger, about; older ones are forgotten
const maxFlights = 200; // messages on their way; above it nothing more is sent
const maxLives = 3; // ledgers of a room that are kept
const longAgo = 10_000; // ms after which an acknowledged message should be everywhere

// Tally is what all rooms together came to.
export class Tally {
  constructor() {
    this.sent = 0;
    this.acknowledged = 0;
    this.heard = 0; // deliveries
    this.lost = 0;
    this.doubled = 0;
    this.reordered = 0;
    this.unknown = 0;
    this.gaps = 0; // told to a member
    this.resets = 0; // lives of rooms that began anew, as told
    this.closed = 0; // sockets that the other side ended
    this.pause = 0; // ms from sending to hearing, the longest
    this.event = null; // {name, pause}: the last event, and the longest pause since
  }

  // begin has pauses count for an event from now on.
  begin(name) {
    this.event = { name, pause: 0 };
  }

  paused(ms) {
    this.pause = Math.max(this.pause, ms);
    if (this.event) this.event.pause = Math.max(this.event.pause, ms);
  }

  // broken is how often a promise was broken.
  get broken() { return this.lost + this.doubled + this.reordered; }
}

// Room judges one room. Member 0 publishes, and hears itself; the others listen.
export class Room {
  constructor(run, members, tally) {
    this.run = run;
    this.tally = tally;
    this.members = Array.from({ length: members }, () => ({ open: false, ledger: null, offset: 0, holes: new Set() }));
    this.ledgers = []; // in the order in which anybody heard of their lives
    this.socket = 0; // of the publisher: 1, 2, 3
    this.seq = 0; // on it
    this.flights = new Map(); // payload → {at, stint, left, known}: sent, and not heard by all yet
  }

  // position is where a member resumes, "" when it has heard nothing yet.
  position(m) {
    const { ledger, offset } = this.members[m];
    return ledger ? `${ledger.epoch}.${offset}` : "";
  }

  // send returns the next payload, null when too many are on their way. A stint is a time in which the page
  // was awake: only in one are pauses measured.
  send(now, stint) {
    if (!this.members[0].open || this.flights.size >= maxFlights) return null;
    this.seq++;
    this.tally.sent++;
    const payload = `${this.run}.${this.socket}.${this.seq}`;
    this.flights.set(payload, { at: now, stint, left: this.there(), known: false, missed: false, socket: this.socket, seq: this.seq });
    return payload;
  }

  // there are the members that have begun to hear the room: nobody else is owed anything.
  there() {
    return new Set([...this.members.keys()].filter((m) => this.members[m].ledger));
  }

  // opened takes the line "!EPOCH.OFFSET[ gap| reset]" that says where a member's stream goes on: the first
  // of a socket, or later.
  opened(m, line) {
    const member = this.members[m];
    const [position, what] = line.slice(1).split(" ");
    const dot = position.lastIndexOf(".");
    const epoch = position.slice(0, dot), offset = Number(position.slice(dot + 1));
    if (m === 0 && !member.open) {
      this.socket++;
      this.seq = 0;
    }
    member.open = true;
    const before = member.ledger, from = member.offset;
    const ledger = this.ledger(epoch, before !== null, what === "reset");
    if (before === null || ledger !== before) {
      member.ledger = ledger;
      member.offset = offset;
      member.holes.clear();
      if (before !== null && what !== "reset") this.tally.lost++; // another life, and nobody says so
    } else if (what === "gap") {
      this.tally.gaps++;
      member.offset = Math.max(from, offset);
    } else if (offset > from) {
      this.skip(member, offset);
    }
    this.pass(m);
  }

  // ledger returns the one of a life, a new one if nobody has heard of it.
  ledger(epoch, later, told) {
    let ledger = this.ledgers.find((l) => l.epoch === epoch);
    if (!ledger) {
      ledger = { epoch, first: !later, slots: new Map(), places: new Map(), top: 0, unsure: 0, sockets: new Map(), lost: new Set(), told: false };
      this.ledgers.push(ledger);
      if (this.ledgers.length > maxLives) this.ledgers.shift();
    }
    if (told && !ledger.told) {
      ledger.told = true;
      this.tally.resets++;
    }
    return ledger;
  }

  // heard takes a message that came to a member.
  heard(m, offset, payload, now, stint) {
    const member = this.members[m], { ledger } = member;
    if (!ledger) return;
    this.tally.heard++;
    if (offset <= member.offset) {
      if (!this.late(member, offset)) {
        this.tally.doubled++;
        return;
      }
    } else {
      this.skip(member, offset - 1);
      member.offset = offset;
    }
    this.place(ledger, offset, payload);
    this.landed(m, payload, now, stint);
  }

  // skip has a member pass offsets up to one that it was not given and not told of.
  skip(member, to) {
    const { ledger } = member;
    for (let o = Math.max(member.offset + 1, to - maxSlots); o <= to; o++) {
      member.holes.add(o);
      if (!ledger.lost.has(o)) {
        ledger.lost.add(o);
        this.tally.lost++;
      }
    }
    member.offset = Math.max(member.offset, to);
    if (!ledger.slots.has(to)) ledger.unsure = Math.max(ledger.unsure, to); // nobody has heard it: a gap for all
  }

  // late takes a message that fills a hole.
  late(member, offset) {
    if (!member.holes.delete(offset)) return false;
    this.tally.reordered++;
    if (member.ledger.lost.delete(offset)) this.tally.lost--;
    return true;
  }

  // place holds a message against what stands at its offset.
  place(ledger, offset, payload) {
    const there = ledger.slots.get(offset);
    if (there !== undefined) {
      if (there !== payload) this.tally.reordered++;
      return;
    }
    ledger.slots.set(offset, payload);
    const other = ledger.places.get(payload);
    if (other !== undefined && other !== offset) {
      this.tally.doubled++;
    } else {
      ledger.places.set(payload, offset);
      this.follows(ledger, offset, payload);
    }
    ledger.top = Math.max(ledger.top, offset);
    this.forget(ledger);
  }

  // follows holds a new message against those of its socket that stand before it.
  follows(ledger, offset, payload) {
    const [run, socket, seq] = split(payload);
    if (run !== this.run) return; // somebody else talks in this room
    const s = ledger.sockets.get(socket) ?? { seq: ledger.first ? 0 : seq - 1, offset: 0, missing: new Set() };
    ledger.sockets.set(socket, s);
    if (s.missing.delete(seq)) {
      this.tally.lost--;
      if (offset > s.offset) this.tally.reordered++;
      return;
    }
    if (offset < ledger.top) return; // one member is behind, and hears what others were excused from
    if (seq <= s.seq) {
      this.tally.reordered++;
      return;
    }
    if (s.offset >= ledger.unsure) { // nothing unknown stands between the two
      for (let n = Math.max(s.seq + 1, seq - maxSlots); n < seq; n++) {
        s.missing.add(n);
        this.tally.lost++;
      }
    }
    s.seq = seq;
    s.offset = offset;
  }

  // landed notes that a message has come to a member, and with it, in order, all before it.
  landed(m, payload, now, stint) {
    const flight = this.flights.get(payload);
    if (!flight) {
      this.found(payload);
      this.pass(m);
      return;
    }
    if (!flight.known) {
      flight.known = true;
      this.tally.acknowledged++;
    }
    if (flight.left.delete(m) && flight.stint === stint) this.tally.paused(now - flight.at);
    for (const f of this.flights.values()) {
      if (f.socket === flight.socket && f.seq < flight.seq) f.left.delete(m);
    }
    this.pass(m);
  }

  // pass ends the wait for what a member has gone past: it is counted as lost by its place, or was excused.
  pass(m) {
    for (const [payload, flight] of this.flights) {
      if (flight.left.has(m) && this.passed(m, payload)) flight.left.delete(m);
      if (flight.left.size === 0) this.end(payload, flight);
    }
  }

  passed(m, payload) {
    const { ledger, offset } = this.members[m];
    for (const l of this.ledgers) {
      if (l === ledger) return l.places.get(payload) <= offset;
      if (l.places.has(payload)) return true;
    }
    return false;
  }

  // found takes back that nobody knows what became of a message.
  found(payload) {
    if (!this.unsent?.delete(payload)) return;
    this.tally.unknown--;
    this.tally.acknowledged++;
  }

  end(payload, flight) {
    this.flights.delete(payload);
    if (flight.missed) this.tally.lost--; // it came after all, or is counted by its place
  }

  // closed says that a member's socket ended, not by our wish.
  closed(m) {
    this.tally.closed++;
    this.left(m);
  }

  // left says that a member's socket ended. What the publisher's socket took along, nobody knows.
  left(m) {
    this.members[m].open = false;
    if (m !== 0) return;
    this.unsent ??= new Set();
    for (const [payload, flight] of this.flights) {
      if (flight.known) continue;
      this.flights.delete(payload);
      this.tally.unknown++;
      this.unsent.add(payload);
      if (this.unsent.size > maxSlots) this.unsent.delete(this.unsent.values().next().value);
    }
  }

  // look counts a pause that lasts, and what should have come long ago. It returns how long the oldest
  // message has been on its way, in ms.
  look(now, stint) {
    let oldest = 0;
    for (const flight of this.flights.values()) {
      if (flight.stint !== stint) continue;
      const age = now - flight.at;
      oldest = Math.max(oldest, age);
      const owed = [...flight.left].some((m) => this.members[m].open);
      if (flight.known && owed && age > longAgo && !flight.missed) {
        flight.missed = true;
        this.tally.lost++;
      }
    }
    if (oldest > 0) this.tally.paused(oldest);
    return oldest;
  }

  forget(ledger) {
    if (ledger.slots.size <= maxSlots) return;
    const bottom = ledger.top - maxSlots / 2;
    for (const [offset, payload] of ledger.slots) {
      if (offset >= bottom) continue;
      ledger.slots.delete(offset);
      ledger.places.delete(payload);
    }
    for (const o of ledger.lost) if (o < bottom) ledger.lost.delete(o); // counted it stays
    for (const s of ledger.sockets.values()) if (s.missing.size > maxSlots) s.missing.clear();
  }
}

function split(payload) {
  const [run, socket, seq] = payload.split(".");
  return [run, Number(socket), Number(seq)];
}
