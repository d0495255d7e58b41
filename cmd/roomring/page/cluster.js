// What the control port of roomring dev tells and does.
import { refusal, stream } from "./stream.js";
import { control } from "./dom.js";

const patience = 8000; // ms for an answer
const firstRetry = 300, lastRetry = 3000; // ms between two tries to hear events, doubling

async function ask(path, options = {}) {
  const response = await fetch(control + path, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(patience), ...options });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

// state is which nodes there are, and what may be done to the shards.
export const state = () => ask("/state");

// act kills, drains, restarts or adds a shard, and returns the new state. It rejects with the reason why
// not.
export function act(what, node) {
  return ask(`/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Roomring-Demo": "1" },
    body: JSON.stringify(node ? { node } : {}),
  });
}

// partitions is where rooms live.
export async function partitions(rooms) {
  const query = new URLSearchParams(rooms.map((room) => ["room", room]));
  return (await ask(`/partitions?${query}`)).partitions;
}

// events tells on(name, data) what happens while the page is seen, and heard(true or false) whether it is
// being told. A hidden page hears nothing: when it is seen again, it is told all anew.
export async function events(on, heard) {
  for (let retry = firstRetry; ; retry = Math.min(2 * retry, lastRetry)) {
    await visible();
    const stop = new AbortController();
    const hide = () => { if (document.hidden) stop.abort(); };
    document.addEventListener("visibilitychange", hide);
    try {
      await stream(`${control}/events`, { signal: stop.signal, on(name, data) {
        retry = firstRetry;
        heard(true);
        on(name, data);
      } });
    } catch { /* the next try says more */ }
    document.removeEventListener("visibilitychange", hide);
    if (!document.hidden) heard(false);
    await new Promise((done) => setTimeout(done, retry));
  }
}

function visible() {
  return new Promise((done) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}
