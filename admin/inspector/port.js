// The admin port that the page comes from.

import { stream, refusal } from './stream.js';

// The token is kept in the tab's session storage: it outlives a reload, which
// people do when something is wrong, and neither another tab nor another site
// nor the disk's profile gets it. It is never part of an address.
const place = 'roomring-token';

// Port asks with the token, if there is one. denied is called when an answer
// says that a token is needed, or that this one is wrong.
export class Port {
  constructor(denied) {
    this.denied = denied;
    this.token = sessionStorage.getItem(place) ?? '';
  }

  use(token) {
    this.token = token;
    if (token === '') {
      sessionStorage.removeItem(place);
    } else {
      sessionStorage.setItem(place, token);
    }
  }

  headers() {
    return this.token === '' ? {} : { Authorization: `Bearer ${this.token}` };
  }

  // ask is a question, or with a body a change. The answer's JSON comes back;
  // an Error has status and code as in stream.js.
  async ask(path, { body, signal } = {}) {
    const options = { headers: this.headers(), signal, cache: 'no-store', credentials: 'omit' };
    if (body !== undefined) {
      options.method = 'POST';
      options.headers['Content-Type'] = 'application/json';
      options.body = JSON.stringify(body);
    }
    const response = await fetch(path, options);
    if (!response.ok) {
      throw this.note(await refusal(response));
    }
    return response.json();
  }

  async stream(path, { signal, on }) {
    try {
      await stream(path, { headers: this.headers(), signal, on });
    } catch (e) {
      throw this.note(e);
    }
  }

  note(e) {
    if (e.status === 401) {
      this.denied();
    }
    return e;
  }
}

// why says an error to people.
export function why(e) {
  if (e.status === 401) {
    return 'A token is needed.';
  }
  if (e.status === 403 && e.code === 'forbidden') {
    return 'This token may only read.';
  }
  if (e.status) {
    return sentence(e.message);
  }
  return 'This node does not answer.';
}

const sentence = (s) => `${s.charAt(0).toUpperCase()}${s.slice(1)}${/[.!?]$/.test(s) ? '' : '.'}`;
