// What happened in the cluster, in words.
import { $, count, make, plural } from "./dom.js";

const shown = 12; // lines
const together = 5000; // ms within which moves the same way are one line

const words = {
  join: (e) => `${e.node} joined`,
  suspect: (e) => `${e.node} is silent`,
  back: (e) => `${e.node} is back`,
  drain: (e) => `${e.node} is about to leave`,
  left: (e) => `${e.node} has left`,
  death: (e) => `${e.node} died`,
  forgotten: (e) => `${e.node} was forgotten`,
  failover: (e) => `${e.to} took over ${parts(e)} of ${e.from}`,
  handoff: (e) => `${e.from} gave ${parts(e)} to ${e.to}`,
  reset: (e) => `${parts(e)} began anew at ${e.to}`,
  copy: (e) => `${e.to} now copies ${parts(e)}`,
  single: (e) => `${parts(e)} left with one copy`,
  settled: () => "Settled",
  unsettled: () => "Not settled",
  leader: (e) => (e.node ? `${e.node} leads the register` : "Nobody leads the register"),
  voters: () => "Others vote",
  founded: () => "The cluster was founded",
};

const bad = new Set(["death", "reset"]);
const good = new Set(["settled", "back", "join"]);

// way is what two entries must have in common to be one line: what is copied is not told by whom from.
const way = (e) => [e.kind, e.kind === "copy" ? "" : e.from, e.to].join(" ");

const parts = (e) => plural(e.partitions, "partition");

// Feed keeps the last lines.
export class Feed {
  constructor() {
    this.lines = []; // the newest last
  }

  // clear forgets all: they will be told again.
  clear() {
    this.lines = [];
  }

  take(e) {
    const joins = e.partitions > 0 || e.kind === "voters"; // of whom only the last word counts
    const same = this.lines.findIndex((l) => joins && way(l) === way(e) && e.at - l.at < together);
    const before = same < 0 ? 0 : this.lines.splice(same, 1)[0].partitions;
    this.lines.push({ ...e, partitions: before + e.partitions });
    if (this.lines.length > shown) this.lines.shift();
  }

  draw() {
    $("feed-empty").hidden = this.lines.length > 0;
    $("feed").replaceChildren(...this.lines.toReversed().map(line));
  }
}

function line(e) {
  const item = make("li", bad.has(e.kind) ? "bad" : good.has(e.kind) ? "good" : "");
  const time = make("time", "mono soft", new Date(e.at).toLocaleTimeString("en-GB"));
  const text = document.createElement("span");
  text.append(make("span", "what", words[e.kind]?.(e) ?? e.kind));
  if (e.reason) text.append(" ", make("span", "soft", e.reason));
  item.append(time, text);
  return item;
}
