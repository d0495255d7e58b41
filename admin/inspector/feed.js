// What happened, as the node that was asked saw it.

import { $, el, set, clock, date, some } from './dom.js';

const kept = 1000; // entries: as many as a node keeps
const drawn = 300; // entries in the list at once

// kinds are the words and the weight of each kind of entry.
const kinds = {
  join: ['joined', 'good'], back: ['back', 'good'], settled: ['settled', 'good'], founded: ['founded', 'good'],
  suspect: ['suspect', 'warn'], drain: ['draining', 'warn'], unsettled: ['not settled', 'warn'], single: ['single copy', 'warn'],
  death: ['died', 'bad'], failover: ['fail-over', 'bad'], reset: ['reset', 'bad'],
  left: ['left', 'soft'], forgotten: ['forgotten', 'soft'], handoff: ['hand-off', 'soft'], copy: ['copy', 'soft'], leader: ['leader', 'soft'], voters: ['voters', 'soft'],
};

// tell makes an entry words: its kind, what it was about, and its tone.
export function tell(e) {
  const [word, tone] = kinds[e.kind] ?? [e.kind, 'soft'];
  return { word, tone, what: e.partitions > 0 ? way(e) : e.kind === 'leader' ? e.node || 'nobody' : e.node };
}

// way says which partitions went where.
function way(e) {
  const many = some(e.partitions, 'partition');
  switch (e.kind) {
    case 'copy':
      return `${many}, copied to ${e.to}${e.from ? ` in place of ${e.from}` : ''}`;
    case 'single':
      return e.to ? `${many} at ${e.to} alone` : many;
    case 'reset':
      return `${many} anew${e.to ? ` at ${e.to}` : ''}`;
  }
  return e.from && e.to ? `${many}, ${e.from} to ${e.to}` : e.to ? `${many} to ${e.to}` : e.from ? `${many} of ${e.from}` : many;
}

export class Feed {
  constructor() {
    this.entries = []; // the newest first
    this.lost = 0;
    this.last = 0; // sequence number
    this.wanted = false;
    $('kind').addEventListener('change', () => this.later());
    this.later();
  }

  // begin is called when a stream begins: all kept entries come again.
  begin() {
    this.entries = [];
    this.lost = 0;
    this.last = 0;
    this.later();
  }

  add(entry) {
    if (entry.seq <= this.last) {
      return;
    }
    this.last = entry.seq;
    this.entries.unshift(entry);
    this.entries.length = Math.min(this.entries.length, kept);
    this.later();
  }

  missed(n) {
    this.lost += n;
    this.later();
  }

  later() {
    if (!this.wanted) {
      this.wanted = true;
      requestAnimationFrame(() => {
        this.wanted = false;
        this.show();
      });
    }
  }

  show() {
    this.filter();
    const kind = $('kind').value;
    const list = this.entries.filter((e) => kind === '' || e.kind === kind);
    const shown = list.slice(0, drawn);
    set($('events-lost'), [
      this.lost > 0 ? `${some(this.lost, 'entry', 'entries')} came too fast for this page` : '',
      list.length > drawn ? `the newest ${drawn} of ${list.length}` : '',
    ].filter(Boolean).join(' · '));
    const box = $('events');
    const known = new Set([...box.children].map((c) => c.dataset.seq));
    if (shown.length !== known.size || shown.some((e) => !known.has(String(e.seq)))) {
      this.rewrite(box, shown);
    }
    box.hidden = list.length === 0;
    $('events-empty').hidden = list.length > 0;
    set($('events-empty'), kind === '' ? 'Nothing has happened since this node began to watch.' : 'Nothing of this kind has happened.');
  }

  // rewrite keeps the elements of entries that stay, so that a screen reader
  // hears the new ones alone.
  rewrite(box, shown) {
    const old = new Map([...box.children].map((c) => [c.dataset.seq, c]));
    box.replaceChildren(...shown.map((e) => old.get(String(e.seq)) ?? this.line(e)));
  }

  line(e) {
    const { word, tone, what } = tell(e);
    const lowest = (e.some ?? []).join(', ');
    const li = el('li', { 'data-seq': e.seq },
      el('time', { datetime: new Date(e.at).toISOString(), title: date(e.at) }, clock(e.at)),
      el('b', { 'data-tone': tone }, word),
      el('span', { class: 'what', title: lowest ? `partitions ${lowest}${e.partitions > e.some.length ? ', …' : ''}` : null },
        what, e.reason ? el('span', { class: 'reason' }, what ? ` · ${e.reason}` : e.reason) : null));
    return li;
  }

  // filter offers the kinds that are there.
  filter() {
    const counts = new Map();
    for (const e of this.entries) {
      counts.set(e.kind, (counts.get(e.kind) ?? 0) + 1);
    }
    const select = $('kind');
    const wanted = [['', `everything (${this.entries.length})`],
      ...Object.keys(kinds).filter((k) => counts.has(k) || k === select.value).map((k) => [k, `${kinds[k][0]} (${counts.get(k) ?? 0})`])];
    const now = [...select.options].map((o) => `${o.value} ${o.text}`).join('\n');
    if (now !== wanted.map(([v, t]) => `${v} ${t}`).join('\n')) {
      const value = select.value;
      select.replaceChildren(...wanted.map(([v, t]) => el('option', { value: v }, t)));
      select.value = value;
    }
  }
}
