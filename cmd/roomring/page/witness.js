// The page as a client: in each of some rooms one conn that publishes, and one listener at each router. What
// they hear goes to the judge.
import { Room, Tally } from "./judge.js";

const rooms = 12;
const every = 200; // ms between two messages of a room
const beat = 50; // ms between two looks; a part of the rooms sends at each
const asleep = 1000; // ms without a look after which the page itself stood still
const firstRetry = 200, lastRetry = 4000; // ms between reconnects, doubling

// Witness runs from start on, for as long as the page lives.
export class Witness {
  constructor(host, ports) {
    this.host = host;
    this.ports = ports;
    this.run = Math.random().toString(36).slice(2, 8);
    this.tally = new Tally();
    this.names = Array.from({ length: rooms }, (_, i) => `judge-${this.run}-${i + 1}`);
    this.rooms = this.names.map(() => new Room(this.run, 1 + ports.length, this.tally));
    this.sockets = this.names.map(() => []);
    this.stint = 1; // changes whenever the page was not awake all the time: no pause is measured across it
    this.awake = !document.hidden;
    this.turn = 0;
    this.looked = 0;
    this.waiting = 0; // ms that the oldest message has been on its way
  }

  start() {
    this.names.forEach((_, i) => {
      for (let m = this.ports.length; m >= 0; m--) this.connect(i, m, firstRetry); // who publishes comes last
    });
    document.addEventListener("visibilitychange", () => {
      this.stint++;
      this.awake = !document.hidden;
    });
    setInterval(() => this.look(performance.now()), beat);
  }

  // open is how many of its sockets are, and how many there should be.
  get open() { return this.rooms.reduce((n, r) => n + r.members.filter((m) => m.open).length, 0); }
  get wanted() { return rooms * (1 + this.ports.length); }

  // connect opens a socket of a room, at the position where its last one was.
  connect(i, m, retry) {
    const room = this.rooms[i];
    const query = new URLSearchParams({ room: this.names[i], num: "1" });
    if (room.position(m)) query.set("since", room.position(m));
    const port = this.ports[m === 0 ? i % this.ports.length : m - 1];
    const socket = new WebSocket(`ws://${this.host}:${port}/ws?${query}`);
    this.sockets[i][m] = socket;
    let opened = false;
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return; // a stranger's, in a room of ours
      if (data[0] === "!") {
        opened = true;
        room.opened(m, data);
        return;
      }
      const space = data.indexOf(" ");
      room.heard(m, Number(data.slice(0, space)), data.slice(space + 1), performance.now(), this.stint);
    };
    socket.onclose = (event) => {
      if (opened) room.closed(m);
      if (event.code >= 4500 && event.code < 5000) return; // not to come back
      const next = opened ? firstRetry : Math.min(2 * retry, lastRetry);
      setTimeout(() => this.connect(i, m, next), retry * (0.5 + Math.random() / 2));
    };
  }

  // look sends what is due, and sees what is late.
  look(now) {
    if (now - this.looked > asleep) this.stint++;
    this.looked = now;
    if (!this.awake) return; // timers of a hidden page are slow: it listens only
    const each = Math.ceil((rooms * beat) / every);
    for (let n = 0; n < each; n++) this.send(this.turn++ % rooms, now);
    this.waiting = Math.max(...this.rooms.map((r) => r.look(now, this.stint)));
  }

  send(i, now) {
    const socket = this.sockets[i][0];
    if (socket?.readyState !== WebSocket.OPEN) return;
    const payload = this.rooms[i].send(now, this.stint);
    if (payload) socket.send(payload);
  }
}
