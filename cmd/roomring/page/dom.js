// What all parts of the page use of the document.

export const $ = (id) => document.getElementById(id);

const meta = (name) => document.querySelector(`meta[name=${name}]`).content;

export const ports = meta("router-ports").split(" ");
export const control = `http://${location.hostname}:${meta("control-port")}`;

// write changes a text only if it is another one: a status is then read out once.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

const number = new Intl.NumberFormat("en");

export const count = (n) => number.format(n);

export const plural = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
