// Server-sent events read with fetch, so that a token can travel in a header
// (EventSource cannot send one, and a token in an address ends up in logs).

// longest bounds one event in characters: far above a whole ring of 4093
// partitions, far below what would hurt the tab.
const longest = 4 << 20;

// stream asks url and calls on(name, data) for each event, data being what its
// JSON says. It resolves when the answer ends. It rejects when the answer is
// an error, with status (of HTTP) and code (of the JSON body, else ''), when
// the network fails, and when signal aborts.
export async function stream(url, { headers = {}, signal, on } = {}) {
  const response = await fetch(url, {
    headers: { Accept: 'text/event-stream', ...headers },
    signal,
    cache: 'no-store',
    credentials: 'omit',
  });
  if (!response.ok) {
    throw await refusal(response);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new Parser(on);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      parser.take(value);
    }
  } finally {
    reader.cancel().catch(() => {}); // a parser's error must not leave the stream open
  }
}

// refusal makes an Error of an answer other than 2xx. status is of HTTP, code
// for programs, retryAfter in seconds or 0.
export async function refusal(response) {
  let code = '';
  let message = '';
  try {
    const body = await response.json();
    code = String(body.error.code);
    message = String(body.error.message);
  } catch {
    message = `HTTP ${response.status}`; // a proxy's page, or nothing
  }
  const e = new Error(message);
  e.status = response.status;
  e.code = code;
  e.retryAfter = Number(response.headers.get('Retry-After')) || 0;
  return e;
}

// Parser cuts text into events. It keeps an unfinished line between pieces.
class Parser {
  constructor(on) {
    this.on = on;
    this.rest = '';
    this.name = '';
    this.data = [];
    this.size = 0;
  }

  take(text) {
    // CR alone also ends a line in the standard; our nodes never send one.
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop();
    if (this.rest.length > longest) {
      throw new Error('an event is too long');
    }
    for (const line of lines) {
      this.line(line.endsWith('\r') ? line.slice(0, -1) : line);
    }
  }

  line(line) {
    if (line === '') {
      this.end();
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) {
      return; // a comment, sent to keep the way open
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (field === 'event') {
      this.name = value;
    } else if (field === 'data') {
      this.size += value.length;
      if (this.size > longest) {
        throw new Error('an event is too long');
      }
      this.data.push(value);
    }
  }

  end() {
    const { name, data } = this;
    this.name = '';
    this.data = [];
    this.size = 0;
    if (data.length > 0) {
      this.on(name || 'message', JSON.parse(data.join('\n')));
    }
  }
}
