// The list of shards, and what may be done to them.
import { $, count, make, write } from "./dom.js";
import { paint } from "./ring.js";

const actions = ["kill", "drain", "restart"];
const labels = { kill: "Kill", drain: "Drain", restart: "Restart" };
const past = { kill: "was killed", drain: "is leaving", restart: "was restarted", add: "was added" };
const states = { running: "running", draining: "leaving", killed: "killed", left: "has left", failed: "ended by itself" };

// List draws the shards. act(what, id) is called for a button; why not is said where the outcomes are.
export class List {
  constructor(act) {
    this.act = act;
    this.rows = new Map(); // id: its elements, kept so that focus stays
    this.busy = new Set(); // ids on which something is being done
    this.leaving = null; // id of the shard that was drained last, until it has left
    $("add").onclick = () => this.press($("add"), "add");
  }

  // draw shows the control port's document with what the ring knows; seat tells a shard's colour.
  draw(document, ring) {
    for (const s of document.shards) {
      if (s.id === this.leaving && !lives(s)) this.gone(s);
      const row = this.rows.get(s.id) ?? this.row(s.id);
      const owned = ring.shards().filter((n) => n.id === s.id && n.state !== "dead").reduce((n, x) => n + x.owned, 0);
      paint(row.swatch, ring.seats.get(s.id));
      row.item.className = s.state;
      write(row.state, states[s.state]);
      write(row.facts, s.reason || (ring.known && lives(s) ? `owns ${count(owned)}` : ""));
      if (lives(s)) row.name.href = `http://${s.admin}/`;
      else row.name.removeAttribute("href");
      for (const what of actions) this.offer(row[what], s[what], (what === "restart") !== lives(s));
      this.keepFocus(row);
    }
    this.offer($("add"), document.add, true);
  }

  row(id) {
    const row = { item: make("li", ""), swatch: make("span", "swatch"), name: make("a", "name", id), state: make("span", "word"), facts: make("span", "soft") };
    row.name.target = "_blank";
    row.name.rel = "noopener";
    row.name.title = `Inspector of ${id}`;
    const buttons = make("span", "buttons");
    for (const what of actions) {
      const button = make("button", what, labels[what]);
      button.type = "button";
      button.setAttribute("aria-label", `${labels[what]} ${id}`);
      button.onclick = () => this.press(button, what, id);
      row[what] = button;
      buttons.append(button);
    }
    const text = make("span", "text");
    text.append(row.name, row.state, row.facts);
    row.item.append(row.swatch, text, buttons);
    this.rows.set(id, row);
    $("shards").append(row.item);
    return row;
  }

  // offer shows a button where it makes sense. One that may not be used says why when it is.
  offer(button, whyNot, sensible) {
    button.hidden = !sensible;
    button.dataset.why = whyNot;
    button.setAttribute("aria-disabled", String(whyNot !== ""));
    button.title = whyNot;
  }

  // keepFocus has the other button take the focus of one that is gone.
  keepFocus(row) {
    const had = actions.map((what) => row[what]).find((b) => b.hidden && b === this.focused);
    const gone = document.activeElement === document.body || document.activeElement === had;
    if (!had || !gone) return;
    this.focused = actions.map((what) => row[what]).find((b) => !b.hidden);
    this.focused.focus();
  }

  async press(button, what, id) {
    if (button.dataset.why) {
      say(button.dataset.why, true);
      return;
    }
    if (this.busy.has(id ?? "")) return;
    this.busy.add(id ?? "");
    this.focused = button;
    try {
      const node = await this.act(what, id);
      this.leaving = what === "drain" ? node : null;
      say(`${node} ${past[what]}.`);
    } catch (error) {
      say(error.status ? error.message : "roomring dev does not answer", true);
    } finally {
      this.busy.delete(id ?? "");
    }
  }

  // gone says what became of a shard that was asked to leave.
  gone(s) {
    this.leaving = null;
    say(`${s.id} ${states[s.state]}.`, s.state === "failed");
  }

  // off says that nobody answers: nothing can be done.
  off(why) {
    for (const row of this.rows.values()) {
      row.item.className = "unknown";
      write(row.state, "not known");
      write(row.facts, "");
      row.name.removeAttribute("href");
      for (const what of actions) this.offer(row[what], why, !row[what].hidden);
    }
    this.offer($("add"), why, true);
  }
}

const lives = (s) => s.state === "running" || s.state === "draining";

function say(text, warn = false) {
  $("outcome").classList.toggle("warn", warn);
  write($("outcome"), text.endsWith(".") ? text : `${text}.`);
}
