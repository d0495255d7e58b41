// The tests of npm's ws. ROOMRING_ROUTERS has the host:port of two routers of
// one cluster, with a comma between. go test runs this with a cluster of its own;
// by hand it is
//
//	roomring dev &
//	ROOMRING_ROUTERS=127.0.0.1:8000,127.0.0.1:8010 node --test ws.test.mjs
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import WebSocket from 'ws'

const routers = (process.env.ROOMRING_ROUTERS ?? '127.0.0.1:8000,127.0.0.1:8010').split(',')
const timeout = 10_000 // of a test, milliseconds
const largest = 64 * 1024
const line = /^!([0-9a-z]{13})\.(0|[1-9][0-9]*)( gap| reset)?$/

let rooms = 0
const newRoom = (name) => `ws ${name} ${process.pid} ${++rooms}`
const address = (room, query = '', router = 0) =>
  `ws://${routers[router]}/ws?room=${encodeURIComponent(room)}${query}`

const text = (body) => ({ binary: false, body: Buffer.from(body) })
const binary = (body) => ({ binary: true, body: Buffer.from(body, 'latin1') })

// What a numbered conn hears of a message.
function numbered(offset, { binary, body }) {
  const prefix = binary ? Buffer.alloc(8) : Buffer.from(`${offset} `)
  if (binary) prefix.writeBigUInt64BE(BigInt(offset))
  return { binary, body: Buffer.concat([prefix, body]) }
}

const counting = (name, n) =>
  Array.from({ length: n }, (_, i) => (i % 3 === 2 ? binary : text)(`${name} ${i}${'.'.repeat(i % 50)}`))

// A conn whose messages wait until the test asks for them.
class Member {
  heard = []
  waiting = null // takes the next message, or the close

  constructor(url, options = {}, protocols = []) {
    this.ws = new WebSocket(url, protocols, options)
    this.ws.on('message', (body, isBinary) => this.#take({ binary: isBinary, body }))
    this.ws.on('close', (code, reason) => this.#take({ code, reason: reason.toString() }))
    this.ws.on('error', () => {}) // a close follows
  }

  #take(event) {
    this.heard.push(event)
    this.waiting?.()
  }

  async next() {
    while (this.heard.length === 0) {
      await new Promise((wake) => { this.waiting = wake })
    }
    return this.heard.shift()
  }

  say({ binary, body }, options) {
    this.ws.send(body, { binary, ...options })
  }

  async want(...messages) {
    for (const message of messages) {
      const got = await this.next()
      assert.equal(got.code, undefined, `closed ${got.code} ${got.reason}`)
      assert.equal(got.binary, message.binary)
      // Not deepEqual: its report of two long buffers takes a minute.
      assert.ok(got.body.equals(message.body), `heard ${clip(got.body)}, want ${clip(message.body)}`)
    }
  }

  async line() {
    const got = await this.next()
    const parts = line.exec(got.body)
    assert.ok(parts && !got.binary, `heard ${clip(got.body)}, want a line`)
    return { epoch: parts[1], offset: Number(parts[2]), ending: parts[3] ?? '' }
  }

  async wantClose(code) {
    const got = await this.next()
    assert.equal(got.code, code, `heard ${clip(got.body)} ${got.reason}`)
    return got
  }

  async alive() {
    this.say(text('are we still here?'))
    await this.want(text('are we still here?'))
  }
}

const clip = (body) => `${JSON.stringify(body?.toString().slice(0, 60))} (${body?.length} bytes)`

describe('npm ws', { concurrency: true, timeout: 3 * timeout }, () => {
  // member is a test that opens conns; all of them end with it.
  const member = (name, run) => test(name, { timeout }, async ({ signal }) => {
    const opened = []
    const end = () => { for (const ws of opened) ws.terminate() }
    signal.addEventListener('abort', end) // too late: what waits hears of a close
    const join = async (room, query, { router, protocols, ...options } = {}) => {
      const m = new Member(address(room, query, router), options, protocols)
      opened.push(m.ws)
      const [[response]] = await Promise.all([once(m.ws, 'upgrade'), once(m.ws, 'open')])
      assert.equal(response.headers['sec-websocket-extensions'], undefined)
      return m
    }
    try {
      await run(join, newRoom(name))
    } finally {
      end()
    }
  })

  member('text stays text, binary stays binary', async (join, room) => {
    const a = await join(room)
    const b = await join(room, '', { router: 1 })
    for (const m of [text('hello'), binary('hello'), text(''), binary(''), binary('\xff\xfe\x00'), text('a NUL \0')]) {
      a.say(m)
      await a.want(m)
      await b.want(m)
    }
  })

  member('echo=0 hides own messages only', async (join, room) => {
    const quiet = await join(room, '&echo=0')
    const other = await join(room, '&echo=1')
    quiet.say(text('from quiet'))
    await other.want(text('from quiet'))
    other.say(text('from other'))
    await other.want(text('from other'))
    await quiet.want(text('from other'))
  })

  member('num=1 numbers', async (join, room) => {
    const a = await join(room, '&num=1')
    const { epoch, offset, ending } = await a.line()
    assert.deepEqual({ offset, ending }, { offset: 0, ending: '' })
    const messages = [text('one'), binary('two'), text(''), binary(''), text('5 five'), binary('\0\xff')]
    for (const [i, m] of messages.entries()) {
      a.say(m)
      await a.want(numbered(i + 1, m))
    }
    const late = await join(room, '&num=1', { router: 1 })
    assert.deepEqual(await late.line(), { epoch, offset: messages.length, ending: '' })
  })

  member('since resumes, and says when it cannot', async (join, room) => {
    let a = await join(room, '&num=1')
    const b = await join(room, '&echo=0', { router: 1 })
    const { epoch } = await a.line()
    const messages = counting('kept', 200)
    for (const m of messages.slice(0, 50)) b.say(m)
    for (let i = 0; i < 50; i++) await a.want(numbered(i + 1, messages[i]))
    a.ws.close(1000)
    await a.wantClose(1000)
    for (const m of messages.slice(50)) b.say(m)
    const other = await join(room)
    other.say(text('the last one')) // may be placed before some of b's

    messages.push(text('the last one'))
    for (const [query, offset, ending] of [
      [`&since=${epoch}.50`, 50, ''],
      [`&since=${epoch}.0`, 0, ''],
      [`&since=${epoch}.201`, 201, ''],
      ['&since=0', 0, ''],
      ['&since=zzzzzzzzzzzzz.7', 0, ' reset'],
    ]) {
      for (const router of [0, 1]) {
        a = await join(room, query, { router })
        assert.deepEqual(await a.line(), { epoch, offset, ending }, query)
        for (let i = offset; i < messages.length; i++) await a.want(numbered(i + 1, messages[i]))
      }
    }
    b.say(text('live again'))
    await a.want(numbered(202, text('live again')))
  })

  member('64 KiB pass, a byte more closes 1009', async (join, room) => {
    const witness = await join(room, '', { router: 1 })
    for (const size of [1, 125, 126, 127, 65535, largest]) {
      const a = await join(room)
      for (const m of [text('x'.repeat(size)), binary('\xff'.repeat(size))]) {
        a.say(m)
        await a.want(m)
        await witness.want(m)
      }
    }
    for (const m of [text('x'.repeat(largest + 1)), binary('x'.repeat(largest + 1))]) {
      const a = await join(room)
      a.say(m)
      const { reason } = await a.wantClose(1009)
      assert.notEqual(reason, '')
    }
    const pieces = await join(room)
    for (let i = 0; i < 16; i++) pieces.say(binary('x'.repeat(4096)), { fin: false })
    pieces.say(binary('x'))
    await pieces.wantClose(1009)
    await witness.alive()
  })

  member('fragments become one message', async (join, room) => {
    const witness = await join(room, '', { router: 1 })
    const a = await join(room)
    const whole = text('зеркало 鏡 🪞 cut inside runes')
    for (let i = 0; i < whole.body.length; i++) {
      a.say({ binary: false, body: whole.body.subarray(i, i + 1) }, { fin: i === whole.body.length - 1 })
      if (i % 7 === 0) a.ws.ping('between fragments')
    }
    await a.want(whole)
    await witness.want(whole)

    for (let i = 0; i < 15; i++) a.say(binary('0123456789abcdef'.repeat(256)), { fin: false })
    a.say(binary('0123456789abcdef'.repeat(256)))
    await a.want(binary('0123456789abcdef'.repeat(4096)))
    await witness.want(binary('0123456789abcdef'.repeat(4096)))

    for (let i = 0; i < 127; i++) a.say(text('x'), { fin: false })
    a.say(text('x'))
    await a.want(text('x'.repeat(128)))
    await witness.want(text('x'.repeat(128)))
    for (let i = 0; i < 129; i++) a.say(text(''), { fin: false })
    await a.wantClose(1008)
    await witness.alive()
  })

  member('a ping is answered', async (join, room) => {
    const a = await join(room, '&num=1')
    await a.line()
    for (const payload of ['', 'hello', Buffer.alloc(125, 0xff)]) {
      const pong = once(a.ws, 'pong')
      a.ws.ping(payload)
      const [got] = await pong
      assert.ok(got.equals(Buffer.from(payload)))
    }
    a.say(text('after'))
    await a.want(numbered(1, text('after')))
  })

  member('close codes are echoed', async (join, room) => {
    for (const code of [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4000, 4999]) {
      const a = await join(room)
      a.ws.close(code, 'até logo')
      await a.wantClose(code)
    }
    const a = await join(room)
    a.ws.close() // without a code
    await a.wantClose(1005)
  })

  member('bad UTF-8 closes 1007', async (join, room) => {
    const a = await join(room)
    a.say({ binary: false, body: Buffer.from([0x61, 0xff, 0x62]) })
    await a.wantClose(1007)
    const surrogate = await join(room)
    surrogate.say({ binary: false, body: Buffer.from([0xed, 0xa0]) }, { fin: false })
    await surrogate.wantClose(1007) // fails fast
  })

  // refused reads the answer to a handshake that must fail.
  async function refused(url, protocols, options) {
    const ws = new WebSocket(url, protocols, { ...options, handshakeTimeout: timeout })
    ws.on('error', () => {})
    const [, response] = await once(ws, 'unexpected-response')
    let body = ''
    for await (const piece of response) body += piece
    return { status: response.statusCode, code: JSON.parse(body).error.code }
  }

  member('what is refused, and how', async (join, room) => {
    const own = await join(room, '', { origin: `http://${routers[0]}` })
    await own.alive()
    for (const [url, protocols, options, status, code] of [
      [address(room), ['chat'], {}, 400, 'bad_subprotocol'],
      [address(room), ['chat', 'superchat'], {}, 400, 'bad_subprotocol'],
      [address(room), [], { origin: 'http://example.com' }, 403, 'forbidden_origin'],
      [address(room), [], { protocolVersion: 8 }, 426, 'upgrade_required'],
      [address(room, '&num=2'), [], {}, 400, 'bad_request'],
      [address(room, '&since=1'), [], {}, 400, 'bad_since'],
      [address(''), [], {}, 400, 'bad_room'],
      [`ws://${routers[0]}/other?room=r`, [], {}, 404, 'not_found'],
    ]) {
      assert.deepEqual(await refused(url, protocols, options), { status, code }, url)
    }
  })

  // ws offers permessage-deflate unless told not to; join sees that the offer is declined.
  member('messages that deflate would shorten', async (join, room) => {
    const a = await join(room, '', { perMessageDeflate: { threshold: 0 } })
    const b = await join(room, '', { perMessageDeflate: { threshold: 0 }, router: 1 })
    assert.equal(a.ws.extensions, '')
    for (const m of [text('short'), text('easy to deflate '.repeat(500)), binary('\0'.repeat(5000))]) {
      a.say(m, { compress: true })
      await a.want(m)
      await b.want(m)
    }
  })

  member('unicode 🏠 комната 部屋 + & = % ? # /', async (join, room) => {
    const a = await join(room, '&num=1')
    const b = await join(room, '', { router: 1 })
    await a.line()
    const bodies = ['żółć', '👩‍👩‍👧‍👦', 'שלום عالم', '\ufeffa BOM stays', '\u{10ffff} \ue000 \ufffd', 'e\u0301', 'a\r\nb\u2028', '🪞'.repeat(16384)]
    for (const [i, m] of bodies.map(text).entries()) {
      b.say(m)
      await b.want(m)
      await a.want(numbered(i + 1, m))
    }
  })

  member('many small messages keep their order', async (join, room) => {
    const a = await join(room)
    const b = await join(room, '&num=1', { router: 1 })
    const messages = counting('pipelined', 3000)
    for (const m of messages) a.say(m)
    await b.line()
    for (const [i, m] of messages.entries()) {
      await a.want(m)
      await b.want(numbered(i + 1, m))
    }
  })

  member('all members hear one order', async (join, room) => {
    const members = []
    for (let i = 0; i < 6; i++) members.push(await join(room, '', { router: i % 2 }))
    for (let n = 0; n < 100; n++) {
      for (const [i, m] of members.entries()) m.say(text(`${i} ${n}`))
      if (n % 10 === 0) await new Promise(setImmediate)
    }
    let first
    for (const m of members) {
      const order = []
      for (let n = 0; n < 600; n++) order.push((await m.next()).body.toString())
      first ??= order
      assert.deepEqual(order, first)
    }
    for (let i = 0; i < 6; i++) {
      const own = first.filter((body) => body.startsWith(`${i} `))
      assert.deepEqual(own, Array.from({ length: 100 }, (_, n) => `${i} ${n}`))
    }
  })
})
