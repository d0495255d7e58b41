// A small line chart of the last five minutes.

import { el, set, clock } from './dom.js';

const ns = 'http://www.w3.org/2000/svg';
const width = 300; // seconds, one unit each
const height = 40;

// Chart is a figure with its name, its value now, and its line. format makes a
// value text.
export class Chart {
  constructor(label, format, hint = '') {
    this.format = format;
    this.label = label;
    this.points = [];
    this.value = el('span', { class: 'value' });
    this.note = el('span', { class: 'note' });
    this.area = document.createElementNS(ns, 'path');
    this.line = document.createElementNS(ns, 'path');
    this.at = document.createElementNS(ns, 'path');
    this.area.setAttribute('class', 'area');
    this.line.setAttribute('class', 'line');
    this.at.setAttribute('class', 'at');
    this.svg = document.createElementNS(ns, 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('role', 'img');
    this.svg.append(this.area, this.line, this.at);
    this.element = el('figure', { class: 'chart', title: hint || null },
      el('figcaption', {}, el('span', { class: 'label' }, label), this.value), this.svg, this.note);
    this.svg.addEventListener('pointermove', (e) => this.point(e));
    this.svg.addEventListener('pointerleave', () => this.point(null));
    this.pointed = null;
  }

  // draw shows points ([Unix milliseconds, value or null], oldest first) and
  // the value now as text; note is said beside the highest one.
  draw(points, now, note = '') {
    this.points = points;
    this.said = note;
    set(this.value, now);
    const end = points.length > 0 ? points[points.length - 1][0] : 0;
    const values = points.map((p) => p[1]).filter((v) => v !== null);
    this.top = Math.max(...values, 0) * 1.08 || 1;
    this.end = end;
    const { line, area } = this.paths(points);
    this.line.setAttribute('d', line);
    this.area.setAttribute('d', area);
    this.range = values.length > 0 ? [Math.min(...values), Math.max(...values)] : null;
    this.svg.setAttribute('aria-label', this.range
      ? `${this.label}, last 5 minutes: now ${now}, lowest ${this.format(this.range[0])}, highest ${this.format(this.range[1])}`
      : `${this.label}: no figures yet`);
    this.caption();
  }

  paths(points) {
    let line = '';
    let area = '';
    let from = null;
    let last = null;
    const close = () => {
      if (from !== null) {
        area += `L${last},${height}L${from},${height}Z`;
      }
      from = null;
    };
    for (const [at, value] of points) {
      const x = (width - (this.end - at) / 1000).toFixed(1);
      if (value === null || x < 0) {
        close();
        continue;
      }
      const y = (height - (value / this.top) * (height - 2) - 1).toFixed(1);
      const step = `${from === null ? 'M' : 'L'}${x},${y}`;
      line += step;
      area += step;
      from ??= x;
      last = x;
    }
    close();
    return { line, area };
  }

  // point shows the sample under the pointer.
  point(e) {
    this.pointed = e === null ? null : e.offsetX / this.svg.clientWidth;
    this.caption();
  }

  caption() {
    const at = this.end - (1 - (this.pointed ?? 1)) * width * 1000;
    const near = this.pointed === null ? null : this.points.find((p) => p[0] >= at && p[1] !== null);
    if (near) {
      const x = (width - (this.end - near[0]) / 1000).toFixed(1);
      this.at.setAttribute('d', `M${x},0V${height}`);
      set(this.note, `${clock(near[0])}  ${this.format(near[1])}`);
      return;
    }
    this.at.setAttribute('d', '');
    const peak = this.range ? `peak ${this.format(this.range[1])}` : 'no figures yet';
    set(this.note, this.said ? `${this.said} · ${peak}` : peak);
  }
}
