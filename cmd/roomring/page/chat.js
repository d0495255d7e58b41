// The chat: a raw client of one room that survives reconnects.
//
// It asks for numbers (num=1), so every message carries its offset, and it remembers its position
// (EPOCH.OFFSET). After a lost connection, or a switch of router, it resumes with since=POSITION and
// misses nothing; when the room cannot give everything, the line that opens the stream says so.
import { $, ports } from "./dom.js";

const maxShown = 500; // messages kept on the page
const firstRetry = 200, lastRetry = 4000; // ms between reconnects, doubling

const me = Math.random().toString(36).slice(2, 10); // tells our own messages from others

let entered = () => {}; // told of the room that is entered

const chat = {
  socket: null,
  router: Math.max(0, ports.indexOf(location.port)),
  room: "",
  epoch: "", // "" until the room has told it
  offset: 0,
  retry: firstRetry,
  timer: 0,
  resuming: false,
  pending: new Map(), // message id → element, until it comes back with an offset
};

// connect opens the room at the present position, on the present router.
function connect() {
  clearTimeout(chat.timer);
  drop();
  const since = chat.epoch ? `${chat.epoch}.${chat.offset}` : "0"; // 0: all that is kept
  chat.resuming = chat.epoch !== "";
  show("connecting", chat.resuming ? "reconnecting" : "connecting");
  const query = new URLSearchParams({ room: chat.room, num: "1", since });
  const socket = new WebSocket(`ws://${location.hostname}:${ports[chat.router]}/ws?${query}`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => typeof event.data === "string" ? hearText(event.data) : hearBinary(event.data);
  socket.onclose = (event) => lost(event);
  chat.socket = socket;
}

// drop forgets the present socket without a word from its handlers.
function drop() {
  const socket = chat.socket;
  if (!socket) return;
  socket.onmessage = socket.onclose = null;
  socket.close();
  chat.socket = null;
}

// lost plans the next attempt, unless the server said not to come back.
function lost(event) {
  chat.socket = null;
  const reason = event.reason ? `: ${event.reason}` : "";
  if (event.code >= 4500 && event.code < 5000) {
    show("closed", "closed");
    notice(`The server closed the connection for good (${event.code}${reason}).`, true);
    return;
  }
  markUnsure();
  show("closed", "reconnecting");
  const spread = chat.retry * (0.5 + Math.random() / 2); // so that not all tabs come at once
  chat.timer = setTimeout(connect, spread);
  chat.retry = Math.min(2 * chat.retry, lastRetry);
}

// hearText takes "!EPOCH.OFFSET[ gap| reset]" or "OFFSET payload".
function hearText(text) {
  if (text[0] === "!") return opened(text);
  const space = text.indexOf(" ");
  heard(Number(text.slice(0, space)), text.slice(space + 1));
}

// hearBinary takes 8 bytes of offset, then the payload.
function hearBinary(buffer) {
  heard(Number(new DataView(buffer).getBigUint64(0)), `(${buffer.byteLength - 8} bytes, binary)`);
}

// opened takes the line that says where the stream goes on.
function opened(line) {
  const [position, what] = line.slice(1).split(" ");
  const dot = position.lastIndexOf(".");
  if (what === "reset") notice("This room started anew: its earlier messages are gone.", true);
  else if (what === "gap") notice("Some messages are too old to be shown again.", true);
  else if (chat.resuming && !isOpen()) notice(`Back, through router ${chat.router + 1}. Nothing was missed.`);
  chat.epoch = position.slice(0, dot);
  chat.offset = Number(position.slice(dot + 1));
  chat.retry = firstRetry;
  show("open", "connected");
  showPosition();
}

// heard takes one message of the room.
function heard(offset, payload) {
  chat.offset = offset;
  showPosition();
  const message = parse(payload);
  const waiting = chat.pending.get(message.id);
  if (waiting) {
    chat.pending.delete(message.id);
    waiting.remove();
  }
  add(bubble(message, `#${offset}`));
}

// parse reads what this page sends, and shows what others send as it is.
function parse(payload) {
  try {
    const m = JSON.parse(payload);
    if (typeof m.text === "string" && typeof m.from === "string") {
      return { from: m.from.slice(0, 24) || "nobody", text: m.text, id: `${m.id}`, mine: `${m.id}`.startsWith(`${me}-`) };
    }
  } catch { /* not ours: plain text */ }
  return { from: "raw client", text: payload, id: "", mine: false };
}

let count = 0;

function say(text) {
  const message = { from: $("name").value.trim() || "nobody", text, id: `${me}-${++count}`, mine: true };
  const element = bubble(message, "sending");
  element.classList.add("pending");
  chat.pending.set(message.id, element);
  add(element);
  chat.socket.send(JSON.stringify({ from: message.from, text, id: message.id }));
}

// markUnsure offers to send again what has not come back: a raw client is not told whether its
// message arrived. If it did, the resumed stream shows it and the offer goes away.
function markUnsure() {
  for (const [id, element] of chat.pending) {
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = "not confirmed, send again";
    again.onclick = () => {
      if (!isOpen()) return;
      chat.pending.delete(id);
      element.remove();
      say(element.querySelector("p").textContent);
    };
    element.querySelector(".offset").replaceChildren(again);
  }
}

function bubble(message, label) {
  const element = document.createElement("article");
  element.className = message.mine ? "message mine" : "message";
  const head = document.createElement("header");
  const from = document.createElement("b");
  from.textContent = message.from;
  from.className = `n${hash(message.from) % 6}`;
  const offset = document.createElement("span");
  offset.className = "offset mono";
  offset.textContent = label;
  const text = document.createElement("p");
  text.textContent = message.text;
  head.append(from, offset);
  element.append(head, text);
  return element;
}

function notice(text, warn) {
  const element = document.createElement("p");
  element.className = warn ? "notice warn" : "notice";
  element.textContent = text;
  add(element);
}

// add appends to the log; it stays at the end unless the reader has scrolled up.
function add(element) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  $("empty").hidden = true;
  log.append(element);
  while (log.children.length > maxShown) log.children[1].remove(); // the first is the empty notice
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function hash(text) {
  let h = 7;
  for (const c of text) h = (h * 31 + c.codePointAt(0)) >>> 0;
  return h;
}

function isOpen() { return $("state").dataset.state === "open"; }

function show(state, words) {
  $("state").dataset.state = state;
  $("state").textContent = words;
  $("send").disabled = state !== "open";
}

function showPosition() {
  $("position").textContent = chat.epoch ? `${chat.epoch}.${chat.offset}` : "–";
}

// enter changes the room: another log, so the old position means nothing.
function enter(room) {
  if (!room || room === chat.room) return;
  chat.room = room;
  chat.epoch = "";
  chat.offset = 0;
  chat.retry = firstRetry;
  chat.pending.clear();
  const empty = $("empty");
  $("log").replaceChildren(empty);
  empty.hidden = false;
  history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  document.title = `${room} · Roomring`;
  linkSecond();
  showPosition();
  entered(room);
  connect();
}

// linkSecond points the second tab at the same room on the next router.
function linkSecond() {
  const port = ports[(chat.router + 1) % ports.length];
  $("second").href = `http://${location.hostname}:${port}/#${encodeURIComponent(chat.room)}`;
}

function drawRouters() {
  ports.forEach((port, i) => {
    const label = document.createElement("label");
    const radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "router";
    radio.checked = i === chat.router;
    radio.onchange = () => {
      chat.router = i;
      chat.retry = firstRetry;
      markUnsure();
      linkSecond();
      connect();
    };
    const text = document.createElement("span");
    const small = document.createElement("small");
    small.textContent = `port ${port}`;
    text.append(`Router ${i + 1}`, small);
    label.append(radio, text);
    $("routers").append(label);
  });
}

function wordOf(list) { return list[Math.floor(Math.random() * list.length)]; }

// remembered per tab: two tabs are two people.
function nameOfTab() {
  const kept = sessionStorage.getItem("name");
  if (kept) return kept;
  return wordOf(["Amber", "Birch", "Cedar", "Coral", "Fern", "Hazel", "Iris", "Juniper", "Linden", "Maple", "Olive", "Rowan", "Sage", "Willow"]);
}

function roomOfPage() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

// start opens the room of the address, and tells of each room that is entered.
export function start(onRoom) {
  entered = onRoom;
  $("who").onsubmit = (event) => {
    event.preventDefault();
    enter($("room").value.trim());
    $("text").focus();
  };
  $("room").onchange = () => enter($("room").value.trim());
  $("name").onchange = () => sessionStorage.setItem("name", $("name").value.trim());
  $("composer").onsubmit = (event) => {
    event.preventDefault();
    const text = $("text").value;
    if (!text.trim() || !isOpen()) return;
    say(text);
    $("text").value = "";
  };
  window.onhashchange = () => {
    const room = roomOfPage();
    if (room) $("room").value = room;
    enter(room);
  };
  window.ononline = () => { if (!isOpen()) connect(); };

  drawRouters();
  $("name").value = nameOfTab();
  $("room").value = roomOfPage() || "lobby";
  enter($("room").value);
}
