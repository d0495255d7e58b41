// Elements and words. All text is set as text: what a node, and so a client,
// named a room is never read as HTML.

export const $ = (id) => document.getElementById(id);

// el makes an element. attributes: class, title and the like; children are
// elements or text, null is left out.
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) {
    if (v !== null && v !== undefined && v !== false) {
      e.setAttribute(k, v === true ? '' : v);
    }
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

// set writes text only when it is another one: a screen reader hears no
// repetition and a selection stays.
export function set(e, text) {
  const s = String(text);
  if (e.textContent !== s) {
    e.textContent = s;
  }
  return e;
}

// foreign is text that a client chose: isolated, so that its direction marks
// stay its own, with control characters made visible, cut by CSS, whole in the
// title.
export function foreign(text) {
  const shown = visible(text);
  return el('bdi', { class: 'foreign', title: shown }, shown);
}

// visible replaces control and direction characters by their pictures or codes.
export function visible(text) {
  return text.replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, (c) => `\u27e8${c.charCodeAt(0).toString(16)}\u27e9`);
}

// brief is a node's id without its middle, where it is long: ids of one cluster
// differ at their ends. Who shows it gives the whole one too.
export const brief = (id) => (id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-11)}` : id);

// named gives an element a brief id, and the whole one to who hovers, or comes
// to a button by ear.
export function named(e, id) {
  set(e, brief(id));
  if (id.length > 20) {
    e.title = id;
    if (e instanceof HTMLButtonElement) {
      e.setAttribute('aria-label', id);
    }
  }
  return e;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const none = '–';

export const count = (n) => (n === null || n === undefined ? none : whole.format(n));

// short is a count in few characters.
export const short = (n) => (n === null || n === undefined ? none : n < 1e5 ? whole.format(n) : compact.format(n));

// rate is a number per second.
export function rate(n) {
  if (n === null || n === undefined) {
    return none;
  }
  return n > 0 && n < 9.95 ? tenth.format(n) : short(n);
}

export function bytes(n) {
  if (n === null || n === undefined) {
    return none;
  }
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i > 0 && n < 9.95 ? tenth.format(n) : whole.format(n)} ${units[i]}`;
}

// some is a count with its noun.
export const some = (n, one, several = `${one}s`) => `${whole.format(n)} ${n === 1 ? one : several}`;

const clocks = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

// clock is a time of day, of Unix milliseconds.
export const clock = (ms) => clocks.format(ms);

export const date = (ms) => new Date(ms).toLocaleString('en-GB');

// span is how long something lasted, roughly.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) {
    return `${s} s`;
  }
  if (s < 7200) {
    return `${Math.round(s / 60)} min`;
  }
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

// keyed makes the children of parent those of list, in its order, and keeps the
// elements of what stays, with their focus. make(item) makes one, fill(element,
// item) writes what it says now.
export function keyed(parent, list, key, make, fill) {
  const old = new Map([...parent.children].map((e) => [e.dataset.key, e]));
  let place = parent.firstElementChild;
  for (const item of list) {
    const k = key(item);
    let e = old.get(k);
    if (e) {
      old.delete(k);
    } else {
      e = make(item);
      e.dataset.key = k;
    }
    if (e === place) {
      place = place.nextElementSibling;
    } else {
      parent.insertBefore(e, place);
    }
    fill(e, item);
  }
  for (const e of old.values()) {
    e.remove();
  }
}
