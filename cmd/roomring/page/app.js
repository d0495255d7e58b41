// The page of roomring dev: a chat, the cluster beside it, and a judge of both.
//
// Read chat.js (a client of one room), judge.js (what is right in a room) with witness.js (the clients that
// it judges by), cluster.js (what the control port tells and does), then what is drawn: picture.js,
// shards.js, feed.js. This file puts them together.
import { $, count, duration, plural, ports, write } from "./dom.js";
import { RingState } from "./ring.js";
import { Feed } from "./feed.js";
import { List } from "./shards.js";
import { Picture } from "./picture.js";
import { Witness } from "./witness.js";
import * as chat from "./chat.js";
import * as cluster from "./cluster.js";

const ring = new RingState();
const feed = new Feed();
const witness = new Witness(location.hostname, ports);
const list = new List(act);
const picture = new Picture($("ring"), { onNode: (id) => { chosen = id; drawRing(); } });

let chosen = null; // the shard that the ring shows
let room = ""; // of the chat
let places = []; // partitions of the chat's room, then of the judge's; [] while unknown
let nodes = null; // the control port's document
let answers = true; // whether it answers
let told = false; // whether events are heard
let settling = null; // {since}: an event after which the cluster has not settled yet

// act has the control port do something, and begins an event of the judge's. It returns which shard it was.
async function act(what, id) {
  const before = new Set((nodes?.shards ?? []).map((s) => s.id));
  nodes = await cluster.act(what, id);
  const node = id ?? nodes.shards.find((s) => !before.has(s.id))?.id ?? "a shard";
  begin(what, node); // nothing that waits for the shard has come yet
  drawShards();
  return node;
}

const happened = { kill: "killed", drain: "drained", restart: "restarted", add: "added", death: "died", join: "joined", left: "left" };

function begin(what, id) {
  settling = { since: performance.now(), node: id, unsettled: ring.known && !ring.settled };
  witness.tally.begin(`${id} ${happened[what]}`);
}

function heard(name, data) {
  if (ring.apply(name, data)) {
    if (name === "ring") feed.clear();
    settle();
    drawRing();
    drawShards();
  } else if (name === "feed") {
    feed.take(data);
    others(data);
    feedChanged();
  }
}

// others begins an event for what somebody else did: another tab, the command line.
function others(e) {
  if (!["death", "drain", "join"].includes(e.kind) || Date.now() - e.at > 2000) return;
  const mine = settling && settling.node === e.node && performance.now() - settling.since < 20_000;
  if (mine || !e.node.startsWith("s")) return;
  begin(e.kind === "drain" ? "drain" : e.kind, e.node);
}

let feedWanted = false;

// feedChanged draws once for many entries: the kept ones come all at once.
function feedChanged() {
  if (feedWanted) return;
  feedWanted = true;
  requestAnimationFrame(() => {
    feedWanted = false;
    feed.draw();
  });
}

// settle notes when the cluster has settled after an event.
function settle() {
  if (!settling || settling.took !== undefined) return;
  if (!ring.settled) settling.unsettled = true;
  else if (settling.unsettled) settling.took = performance.now() - settling.since;
}

function drawRing() {
  const known = ring.known && answers;
  $("ring-empty").hidden = known;
  $("ring").hidden = $("where").hidden = !known;
  if (known) {
    picture.draw(ring, { highlight: chosen });
    picture.mark(places[0] ?? -1, places.slice(1));
  }
  const [state, words] = health();
  $("cluster").dataset.state = state;
  write($("cluster"), words);
  write($("where-text"), where());
  $("risk").classList.toggle("warn", answers && ring.known && ring.singleCopy > 0);
  write($("risk"), risk());
}

function health() {
  if (!answers) return ["closed", "no answer"];
  if (!told) return ["connecting", ring.known ? "not live" : "connecting"];
  if (ring.settled) return ["open", "settled"];
  return ["connecting", ring.pending() > 0 ? "moving" : "settling"];
}

function where() {
  if (!ring.known || places.length === 0) return "Where your room lives is not known yet.";
  const { owner, follower } = ring.row(places[0]);
  if (!owner) return `“${room}” waits: nobody owns it now.`;
  return `“${room}” lives on ${owner}${follower ? `, its copy on ${follower}` : ", without a copy just now"}.`;
}

function risk() {
  if (!answers) return "";
  if (!ring.known || ring.singleCopy === 0) return "Each room has a copy on a second shard. Kill one of the two: the other one takes over.";
  if (ring.shards().filter((s) => s.state !== "dead").length < 2) return "One shard is left, so each room has one copy. Add or restart another one.";
  return `${plural(ring.singleCopy, "partition")} left with one copy just now. Whoever kills its shard resets their rooms, and everybody in them is told.`;
}

function drawShards() {
  if (nodes) list.draw(nodes, ring);
  const first = nodes?.routers.find((r) => r.state === "running");
  if (first) $("inspector").href = `http://${first.admin}/`;
}

const tiles = ["lost", "doubled", "reordered"];

function drawJudge() {
  const { tally } = witness;
  for (const name of tiles) {
    write($(name), count(tally[name]));
    $(name).parentElement.classList.toggle("alarm", tally[name] > 0);
  }
  write($("acknowledged"), count(tally.acknowledged));
  write($("pause"), tally.pause > 0 ? duration(tally.pause) : "–");
  write($("event"), tally.event ? `Since ${tally.event.name}` : "Since the last event");
  write($("event-pause"), eventPause(tally.event));
  write($("closed"), count(tally.closed));
  write($("told"), `${count(tally.gaps)}, ${count(tally.resets)}`);
  $("told").parentElement.classList.toggle("note", tally.gaps + tally.resets > 0);
  $("closed").parentElement.classList.toggle("note", tally.closed > 0);
  $("pause").parentElement.classList.toggle("note", tally.pause >= 1000);
  $("unknown-row").hidden = tally.unknown === 0;
  write($("unknown"), count(tally.unknown));
  write($("method"), tally.resets > 0 ? announced(tally) : "This page sends numbered messages to 12 rooms and hears each room through both routers.");
  const [state, words] = judging();
  $("judging").dataset.state = state;
  write($("judging"), words);
  write($("verdict"), tally.broken > 0 ? `${tally.lost} lost, ${tally.doubled} doubled, ${tally.reordered} reordered` : "");
}

function announced({ resets }) {
  return `${resets === 1 ? "A room" : `${count(resets)} rooms`} began anew: both copies died, and everybody there was told. What that took was announced, and does not count as lost.`;
}

function eventPause(event) {
  if (!event) return "–";
  const settled = settling?.took === undefined ? "" : `, settled in ${duration(settling.took)}`;
  return (event.pause > 0 ? duration(event.pause) : "–") + settled;
}

function judging() {
  const { open, wanted, waiting } = witness;
  if (open === 0) return ["closed", "nobody to hear"];
  if (open < wanted) return ["connecting", `${open} of ${wanted} sockets`];
  if (waiting >= 1000) return ["connecting", `waiting ${duration(waiting)}`];
  return ["open", "judging"];
}

// look asks which nodes there are, once a second while the page is seen.
async function look() {
  if (document.hidden) return;
  try {
    nodes = await cluster.state();
    answers = true;
    drawShards();
    if (places.length === 0) await locate();
  } catch {
    answers = false;
    list.off("roomring dev does not answer");
  }
  $("about").classList.toggle("warn", !answers);
  write($("about"), answers ? "a whole cluster on this machine: chat, break it, watch" : "roomring dev does not answer. Start it again, then reload this page.");
  drawRing();
}

async function locate() {
  const asked = room;
  const found = await cluster.partitions([room, ...witness.names]);
  if (asked === room) places = found;
  drawRing();
}

async function lookAgain() {
  for (;;) {
    await look();
    await new Promise((done) => setTimeout(done, 1000));
  }
}

chat.start((entered) => {
  room = entered;
  places = [];
  locate().catch(() => {}); // look asks again
});
witness.start();
setInterval(() => { if (!document.hidden) drawJudge(); }, 250);
cluster.events(heard, (now) => { if (told !== now) { told = now; drawRing(); } });
lookAgain();
