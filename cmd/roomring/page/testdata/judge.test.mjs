// The judge without a browser: what each broken promise looks like, and what looks like one and is none.
// Run by TestJudge, with the judge beside it as judge.mjs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Room, Tally } from "./judge.mjs";

// play has a publisher and two listeners in one room; script is called with words for what happens.
function play(script) {
  const tally = new Tally();
  const room = new Room("r", 3, tally);
  let now = 0;
  const w = {
    room, tally,
    open: (line = "!e.0") => [0, 1, 2].forEach((m) => room.opened(m, line)),
    told: (m, line) => room.opened(m, line),
    send: (n = 1) => Array.from({ length: n }, () => room.send(now, 1)),
    hear: (m, offset, payload) => room.heard(m, offset, payload, now, 1),
    all: (offset, payload) => [0, 1, 2].forEach((m) => room.heard(m, offset, payload, now, 1)),
    wait: (ms) => { now += ms; room.look(now, 1); },
    close: (m) => room.closed(m),
  };
  w.open();
  script(w);
  const { lost, doubled, reordered, unknown, gaps, resets, closed } = tally;
  return Object.fromEntries(Object.entries({ lost, doubled, reordered, unknown, gaps, resets, closed }).filter(([, n]) => n !== 0));
}

const cases = {
  "all is well": [{}, (w) => w.send(5).forEach((p, i) => w.all(i + 1, p))],

  "an offset is missing at one": [{ lost: 1 }, (w) => {
    const p = w.send(3);
    for (const i of [0, 1, 2]) for (const m of [0, 1, 2]) if (m !== 2 || i !== 1) w.hear(m, i + 1, p[i]);
  }],
  "the same offset is missing at two": [{ lost: 1 }, (w) => {
    const p = w.send(3);
    for (const i of [0, 1, 2]) for (const m of [0, 1, 2]) if (m === 0 || i !== 1) w.hear(m, i + 1, p[i]);
  }],
  "nobody hears a message, and later ones come": [{ lost: 1 }, (w) => {
    const p = w.send(3);
    w.all(1, p[0]);
    w.all(2, p[2]);
  }],
  "the first message never comes": [{ lost: 1 }, (w) => w.all(1, w.send(2)[1])],
  "the last message never comes to one": [{ lost: 1 }, (w) => {
    const [p] = w.send();
    w.hear(0, 1, p);
    w.hear(1, 1, p);
    w.wait(9_000);
    assert.equal(w.tally.lost, 0);
    w.wait(2_000);
  }],
  "the last message comes to one very late": [{}, (w) => {
    const [p] = w.send();
    w.hear(0, 1, p);
    w.hear(1, 1, p);
    w.wait(20_000);
    w.hear(2, 1, p);
  }],
  "nobody was ever told of a message": [{}, (w) => { // it waits, and the pause shows it
    w.send();
    w.wait(30_000);
    assert.equal(w.tally.pause, 30_000);
  }],

  "an offset comes twice": [{ doubled: 1 }, (w) => {
    const [p] = w.send();
    w.all(1, p);
    w.hear(1, 1, p);
  }],
  "a message stands at two offsets": [{ doubled: 1 }, (w) => {
    const [p] = w.send();
    w.all(1, p);
    w.all(2, p);
  }],

  "two are swapped at one": [{ reordered: 1 }, (w) => {
    const p = w.send(2);
    for (const m of [0, 1]) p.forEach((x, i) => w.hear(m, i + 1, x));
    w.hear(2, 2, p[1]);
    assert.equal(w.tally.lost, 1);
    w.hear(2, 1, p[0]); // it was not lost after all
  }],
  "two are swapped for all": [{ reordered: 1 }, (w) => {
    const p = w.send(2);
    w.all(1, p[1]);
    w.all(2, p[0]);
  }],
  "two hear different messages at one offset": [{ reordered: 2 }, (w) => {
    const p = w.send(2);
    for (const m of [0, 1]) p.forEach((x, i) => w.hear(m, i + 1, x));
    w.hear(2, 1, p[1]);
    w.hear(2, 2, p[0]);
  }],

  "a reset is announced": [{ resets: 1 }, (w) => {
    const p = w.send(4);
    w.all(1, p[0]);
    w.all(2, p[1]);
    for (const m of [0, 1, 2]) w.told(m, "!f.0 reset");
    w.all(1, p[3]); // p[2] went with the old life
    w.all(2, w.send()[0]);
  }],
  "a message stands in two lives": [{ resets: 1 }, (w) => {
    const [p] = w.send();
    w.all(1, p);
    for (const m of [0, 1, 2]) w.told(m, "!f.0 reset");
    w.all(1, p);
  }],
  "another life that nobody announced": [{ lost: 1 }, (w) => {
    w.all(1, w.send()[0]);
    w.told(1, "!f.0");
  }],
  "order holds in the new life too": [{ resets: 1, lost: 1, doubled: 1 }, (w) => {
    w.all(1, w.send()[0]);
    for (const m of [0, 1, 2]) w.told(m, "!f.0 reset");
    const p = w.send(3);
    w.all(1, p[0]);
    w.all(2, p[2]);
    w.all(3, p[2]);
  }],

  "a gap is announced": [{ gaps: 1 }, (w) => {
    const p = w.send(4);
    for (const m of [0, 1]) p.forEach((x, i) => w.hear(m, i + 1, x));
    w.hear(2, 1, p[0]);
    w.told(2, "!e.3 gap");
    w.hear(2, 4, p[3]);
  }],
  "all are told of the same gap": [{ gaps: 3 }, (w) => {
    const p = w.send(4);
    w.all(1, p[0]);
    for (const m of [0, 1, 2]) w.told(m, "!e.3 gap");
    w.all(4, p[3]);
  }],
  "one is behind, and hears what the others were told of": [{ gaps: 2 }, (w) => {
    const p = w.send(4);
    w.all(1, p[0]);
    for (const m of [0, 1]) { w.told(m, "!e.3 gap"); w.hear(m, 4, p[3]); }
    for (const i of [1, 2, 3]) w.hear(2, i + 1, p[i]);
  }],
  "a stranger talks in the room": [{}, (w) => {
    const p = w.send(2);
    w.all(1, p[0]);
    w.all(2, "hello");
    w.all(3, "x.1.7");
    w.all(4, p[1]);
  }],
  "a gap and a reset end the wait for what they took": [{ closed: 1, gaps: 1, resets: 1 }, (w) => {
    const p = w.send(2);
    for (const m of [0, 1]) p.forEach((x, i) => w.hear(m, i + 1, x));
    w.close(0); // no later message of that socket will come
    w.told(0, "!e.2");
    w.told(2, "!e.1 gap");
    for (const m of [0, 1, 2]) w.told(m, "!f.0 reset");
    w.wait(30_000);
    assert.equal(w.tally.pause, 0);
    assert.equal(w.room.flights.size, 0);
  }],
  "what is lost is counted once": [{ closed: 1, lost: 1 }, (w) => {
    const [p] = w.send();
    w.hear(0, 1, p);
    w.hear(1, 1, p);
    w.wait(20_000); // lost for its time
    w.close(0);
    w.told(0, "!e.1");
    w.all(2, w.send()[0]); // and for its place
    w.wait(20_000);
  }],
  "a gap does not excuse what comes after it": [{ gaps: 1, lost: 1 }, (w) => {
    const p = w.send(5);
    for (const m of [0, 1]) p.forEach((x, i) => w.hear(m, i + 1, x));
    w.told(2, "!e.3 gap");
    w.hear(2, 5, p[4]);
  }],

  "a listener resumes": [{ closed: 1 }, (w) => {
    const p = w.send(3);
    w.all(1, p[0]);
    w.close(2);
    for (const m of [0, 1]) { w.hear(m, 2, p[1]); w.hear(m, 3, p[2]); }
    assert.equal(w.room.position(2), "e.1");
    w.told(2, "!e.1");
    w.hear(2, 2, p[1]);
    w.hear(2, 3, p[2]);
  }],
  "a resume leaves something out": [{ closed: 1, lost: 1 }, (w) => {
    const p = w.send(3);
    w.all(1, p[0]);
    w.close(2);
    for (const m of [0, 1]) { w.hear(m, 2, p[1]); w.hear(m, 3, p[2]); }
    w.told(2, "!e.2");
    w.hear(2, 3, p[2]);
  }],
  "a resume repeats something": [{ closed: 1, doubled: 1 }, (w) => {
    const p = w.send(2);
    w.all(1, p[0]);
    w.all(2, p[1]);
    w.close(1);
    w.told(1, "!e.1");
    w.hear(1, 2, p[1]);
  }],

  "the publisher's socket closes": [{ closed: 1, unknown: 2 }, (w) => {
    const p = w.send(3);
    w.all(1, p[0]);
    w.close(0);
    w.told(0, "!e.1");
    w.all(2, w.send()[0]);
    w.wait(30_000);
  }],
  "what nobody knew of comes after all": [{ closed: 1 }, (w) => {
    const [p] = w.send();
    w.close(0);
    assert.equal(w.tally.unknown, 1);
    w.told(0, "!e.0");
    const [q] = w.send();
    w.all(1, q);
    w.all(2, p); // of another socket: there is no order between the two
  }],
  "what was acknowledged before the close is owed": [{ closed: 1, lost: 1 }, (w) => {
    const [p] = w.send();
    w.hear(0, 1, p);
    w.close(0);
    w.told(0, "!e.1");
    const [q] = w.send();
    w.hear(0, 2, q);
    w.hear(1, 1, p);
    w.hear(1, 2, q);
    w.hear(2, 2, q);
  }],
};

for (const [name, [want, script]] of Object.entries(cases)) {
  test(name, () => assert.deepEqual(play(script), want));
}

test("pauses count in one stint, and for the last event", () => {
  const tally = new Tally();
  const room = new Room("r", 2, tally);
  room.opened(0, "!e.0");
  room.opened(1, "!e.0");
  const a = room.send(0, 1);
  room.heard(0, 1, a, 5, 1);
  room.heard(1, 1, a, 30, 1);
  assert.equal(tally.pause, 30);
  const b = room.send(100, 1); // the page is put to sleep
  room.heard(0, 2, b, 9_000, 2);
  room.heard(1, 2, b, 9_000, 2);
  assert.equal(tally.pause, 30);
  tally.begin("s2 killed");
  const c = room.send(10_000, 2);
  room.look(10_070, 2);
  assert.deepEqual([tally.pause, tally.event.pause], [70, 70]);
  room.heard(0, 3, c, 10_080, 2);
  room.heard(1, 3, c, 10_080, 2);
  assert.deepEqual(tally.event, { name: "s2 killed", pause: 80 });
});

test("memory is bounded", () => {
  const tally = new Tally();
  const room = new Room("r", 2, tally);
  room.opened(0, "!e.0");
  room.opened(1, "!e.0");
  for (let i = 1; i <= 20_000; i++) {
    const p = room.send(i, 1);
    room.heard(0, i, p, i, 1);
    room.heard(1, i, p, i, 1);
  }
  assert.equal(tally.broken, 0);
  assert.equal(tally.acknowledged, 20_000);
  assert.ok(room.ledgers[0].slots.size <= 2_001 && room.flights.size === 0);
  for (let i = 0; i < 1_000; i++) room.send(0, 1);
  assert.equal(room.flights.size, 200); // nobody hears: no more is sent
});
