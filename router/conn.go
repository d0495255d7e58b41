package router

import (
	"bytes"
	"net/netip"
	"time"
	"unsafe"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/router/websocket"
)

// conn is one client. There may be a million of them that say nothing, so what
// only some need, and only for a time, hangs on a pointer.
type conn struct {
	member hub.Member // first, so that connOf finds its conn
	sock   poll.Conn
	reader websocket.Reader
	lane   *lane

	opening *opening // not nil until the WebSocket is open
	out     []byte   // to be written before anything else; then Writable is owed
	from    *origin  // not nil while its address is counted

	place int32  // in lane.conns
	due   uint32 // the tick of the wheel in which it is looked at, 0 for never
	heard uint32 // the tick in which it last said something

	thrown int32 // bytes thrown away since our last words
	rest   int32 // bytes of a member's frame that go before out, 0 for none
	state  state
	pinged bool // a ping is out, due is its deadline
	joined bool // counted as a WebSocket
	pushed bool // pushed back: its socket is not read until the hub says so
}

type state uint8

// A conn goes through these in order; it may leave out the middle ones.
const (
	stateProxy   state = iota // the PROXY header in front of it is not whole
	stateRequest              // its request is not whole
	stateJoining              // the request is fine, the room's owner is asked
	stateBody                 // it publishes over HTTP, and its message is not whole
	stateWaiting              // the same, and waits for the acknowledgement
	stateOpen                 // a member
	stateClosing              // everything is said; what still comes is not looked at
	stateGone
)

// opening is what a conn needs until its WebSocket is open.
type opening struct {
	peer     netip.Addr // who connected
	header   websocket.ProxyHeader
	below    *proxied // has header, once there is a request; nil without TLS, or without a proxy
	full     bool     // there were too many when it came
	key      string   // of the request
	protocol string   // chosen subprotocol
	room     string
	options  hub.JoinOptions
	posting  *posting // nil: it is to be a WebSocket
}

// origin is the client address that a conn is counted under.
type origin struct{ ip netip.Addr }

// connOf finds the conn that a member is embedded in.
func connOf(m *hub.Member) *conn {
	return (*conn)(unsafe.Pointer(m)) // member is conn's first field
}

// Data is called with what arrived.
func (c *conn) Data(b []byte) int {
	switch c.state {
	case stateProxy:
		return c.proxyHeader(b)
	case stateRequest:
		return c.request(b)
	case stateOpen:
		return c.frames(b)
	case stateBody:
		return c.body(b)
	case stateJoining, stateWaiting:
		return 0 // not before the answer; the socket is paused
	}
	if c.thrown += int32(len(b)); c.thrown > maxThrown {
		c.sock.Pause() // whoever still shouts does not want to hear why
	}
	return len(b)
}

// maxThrown bounds what is read and thrown away behind our last words, in
// bytes: it is there for what was on its way, not for a flood.
const maxThrown = 256 << 10

// frames handles what a member says.
func (c *conn) frames(b []byte) int {
	l := c.lane
	c.heard = l.wheel.now
	pongs := l.scratch[:0]
	at := 0
	for at < len(b) {
		ev, n, err := c.reader.Next(b[at:], &l.router.limits, l.loop.Now())
		at += n
		if err != nil {
			l.counters.Protocol++
			c.control(pongs)
			c.close(err.Code, err.Reason)
			return len(b)
		}
		switch ev.Type {
		case websocket.EventText, websocket.EventBinary:
			if !c.publish(ev) {
				c.control(pongs)
				return at
			}
		case websocket.EventPing:
			if len(pongs) < maxPongs {
				pongs = websocket.AppendFrame(pongs, websocket.OpPong, ev.Payload)
			}
		case websocket.EventClose:
			c.control(pongs)
			c.part(ev.Code, "")
			return len(b)
		case websocket.EventNone:
			at = len(b)
		}
	}
	c.control(pongs)
	l.scratch = pongs[:0]
	if started, ok := c.reader.Started(); ok {
		c.watch(started)
	}
	return at
}

// maxPongs bounds the pongs that answer one read, in bytes: a client that sends
// more pings at once hears of the first ones.
const maxPongs = 4 << 10

// watch has an unfinished message looked at when its time is up.
func (c *conn) watch(started time.Time) {
	w := &c.lane.wheel
	if left := messageTime - c.lane.loop.Now().Sub(started); w.now+uint32(left/wheelTick) < c.due {
		c.pinged = false
		w.set(c, left+wheelTick)
	}
}

const messageTime = 10 * time.Second // as websocket.Limits has it

// publish hands a message to the hub. It reports whether the conn may be read
// further.
func (c *conn) publish(ev websocket.Event) bool {
	l := c.lane
	kind := proto.KindText
	if ev.Type == websocket.EventBinary {
		kind = proto.KindBinary
	}
	l.counters.Messages++
	l.counters.Bytes += uint64(len(ev.Payload))
	if l.hub.Publish(&c.member, kind, ev.Payload, l.loop.Now()) {
		return true
	}
	l.counters.Pushbacks++
	c.pushed = true
	c.sock.Pause()
	return false
}

// control writes whole control frames at the next place between two frames.
func (c *conn) control(frames []byte) {
	if len(frames) == 0 {
		return
	}
	if len(c.out) > 0 {
		if len(c.out)+len(frames) <= maxPongs {
			c.out = append(c.out, frames...)
		}
		return // else it takes nothing; it will not miss a pong
	}
	if rest := c.lane.hub.Rest(&c.member); len(rest) > 0 {
		c.rest, c.out = int32(len(rest)), bytes.Clone(frames)
		return // Writable is owed already
	}
	if n := c.put(frames); n < len(frames) {
		c.out = bytes.Clone(frames[n:])
	}
}

// write hands over what the hub has for a member, and returns how much the
// socket took. Own words go first, or as soon as a frame under way is complete.
func (c *conn) write(b []byte) int {
	n := 0
	if c.rest > 0 {
		n = c.put(b[:min(len(b), int(c.rest))])
		if c.rest -= int32(n); c.rest > 0 {
			return n
		}
	}
	if !c.flush() {
		return n
	}
	return n + c.put(b[n:])
}

// put writes to the socket and counts what it took.
func (c *conn) put(b []byte) int {
	n := c.sock.Write(b)
	c.lane.counters.BytesOut += uint64(max(n, 0))
	return n
}

// flush writes what goes before anything else, and reports whether all of it
// is gone.
func (c *conn) flush() bool {
	if c.rest > 0 {
		return false // the hub has it
	}
	if len(c.out) == 0 {
		return true
	}
	n := c.put(c.out)
	if n < len(c.out) {
		c.out = c.out[:copy(c.out, c.out[n:])]
		return false
	}
	c.out = nil
	return true
}

// Writable is called when the socket takes more.
func (c *conn) Writable() {
	if !c.flush() && c.rest == 0 {
		return
	}
	switch c.state {
	case stateOpen:
		c.lane.hub.Writable(&c.member)
	case stateClosing:
		c.sock.CloseWrite()
	}
}

// EOF is called when the client will say nothing more. What it said has been
// published. It may still read our last words.
func (c *conn) EOF() {
	if c.state == stateClosing && len(c.out) > 0 {
		return
	}
	c.end()
}

// Broken is called when the connection is gone.
func (c *conn) Broken(err error) {
	if c.state == stateRequest {
		c.brokenBelow(err)
	}
	c.end()
}

// close ends a WebSocket from here.
func (c *conn) close(code uint16, reason string) {
	if c.state == stateOpen {
		c.lane.closed(code)
	}
	c.part(code, reason)
}

// part says goodbye with a close frame and gives the client CloseTime to take it.
// Code 0 or websocket.CloseNoCode says none.
func (c *conn) part(code uint16, reason string) {
	if c.state != stateOpen {
		c.end()
		return
	}
	// A frame under way is finished first.
	c.out, c.rest = append(bytes.Clone(c.lane.hub.Rest(&c.member)), c.out...), 0
	c.lane.hub.Leave(&c.member, c.lane.loop.Now())
	c.out = websocket.AppendClose(c.out, code, reason)
	c.lastWords()
}

// refuse answers a request that will not become a WebSocket.
func (c *conn) refuse(err *websocket.HTTPError) {
	c.lane.refused(err.Code)
	c.out = websocket.AppendError(c.out, err)
	c.lastWords()
}

// lastWords writes what is left to say; then the direction is closed, so that
// the client sees the end, and what it still sends is read and thrown away: an
// unread byte would make the kernel send a reset that destroys our words.
func (c *conn) lastWords() {
	c.state = stateClosing
	c.reader = websocket.Reader{}
	c.lane.release(c.opening)
	c.opening = nil
	c.sock.Resume()
	c.lane.wheel.set(c, c.lane.router.cfg.CloseTime)
	if c.flush() {
		c.sock.CloseWrite()
	}
}

// end is the end of a conn, however it came. It may be called again.
func (c *conn) end() {
	if c.state == stateGone {
		return
	}
	if c.state == stateOpen || c.state == stateJoining {
		c.lane.hub.Leave(&c.member, c.lane.loop.Now())
	}
	if c.state == stateWaiting {
		c.lane.unwait(c)
	}
	if c.joined {
		c.lane.counters.Open--
	}
	c.lane.release(c.opening)
	c.state = stateGone
	c.out, c.opening = nil, nil
	c.sock.Close()
	c.lane.remove(c)
	c.lane.router.forget(c)
}

// forget counts a conn out of the whole router.
func (r *Router) forget(c *conn) {
	r.conns.Add(-1)
	if c.joined {
		r.open.Add(-1)
	}
	if c.from != nil {
		r.addresses.leave(c.from.ip)
		c.from = nil
	}
}

// due looks at a conn whose time has come.
func (l *lane) due(c *conn) {
	switch c.state {
	case stateProxy, stateRequest:
		l.counters.Late++
		c.end() // without an answer: it has not asked anything yet
	case stateBody:
		l.counters.Late++
		c.refuse(errSlowBody)
	case stateOpen:
		c.dueOpen()
	case stateClosing:
		c.end()
	}
}

// dueOpen pings a silent client and gives up on one that did not answer. A
// socket that we do not read cannot answer, and one that is full does not get
// the ping: their clocks stand still, and other bounds watch over them.
func (c *conn) dueOpen() {
	l := c.lane
	cfg := &l.router.cfg
	if err := c.reader.Overdue(&l.router.limits, l.loop.Now()); err != nil {
		l.counters.Protocol++
		c.close(err.Code, err.Reason)
		return
	}
	silent := time.Duration(l.wheel.now-c.heard) * wheelTick
	switch {
	case c.pinged && silent <= cfg.PongTime: // equal: it answered within the tick of the ping
		c.pinged = false
		l.wheel.set(c, cfg.PingEvery-silent)
	case c.pushed || l.hub.Lagging(&c.member):
		c.pinged = false
		l.wheel.set(c, cfg.PongTime)
	case c.pinged:
		l.counters.Silent++
		c.end()
	case silent < cfg.PingEvery:
		l.wheel.set(c, cfg.PingEvery-silent)
	default:
		c.pinged = true
		c.control([]byte(websocket.Ping))
		l.wheel.set(c, cfg.PongTime)
	}
	if started, ok := c.reader.Started(); ok && c.state == stateOpen && !c.pinged {
		c.watch(started)
	}
}
