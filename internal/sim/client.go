package sim

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
)

// client is somebody who wants to be in a room, whatever happens: it talks,
// reads, sometimes too slowly, and comes back when its conn ends.
type client struct {
	w        *World
	number   int
	room     string
	numbered bool
	noEcho   bool
	since    proto.Position // where a numbered one is; zero before its first line
	now      *conn          // nil while it has none
	stalled  time.Duration  // it reads nothing before
	gone     bool           // for good
}

// conn is a client's WebSocket at a router: the client's half and the router's.
type conn struct {
	member hub.Member
	id     uint64
	client *client
	lane   *routerLane
	state  connState
	opt    hub.JoinOptions

	// The router's half.
	out    []byte // own words, which go first
	owed   bool   // the hub is to hear when the socket takes more
	paused bool   // it is not read
	said   int    // messages that it published
	sent   int    // the last of them that the hub gave a seq

	// The socket and the client's half.
	wire    []byte // not read yet
	reading bool
	ear     ear
}

type connState uint8

const (
	connJoining connState = iota
	connOpen
	connClosing // everything is said
	connGone
)

func (w *World) startClient(i int) {
	s := &w.shape
	c := &client{w: w, number: i, room: s.rooms[w.Rand.IntN(len(s.rooms))], numbered: w.Chance(0.6), noEcho: w.Chance(0.2)}
	w.clients = append(w.clients, c)
	w.After(w.Between(0+time.Millisecond, 300*time.Millisecond), c.connect)
	w.After(w.Between(time.Millisecond, 300*time.Millisecond), c.talk)
}

// connect asks any living router for the room.
func (c *client) connect() {
	w := c.w
	if c.gone || c.now != nil {
		return
	}
	var up []*router
	for _, r := range w.routers {
		if r.alive && !r.frozen {
			up = append(up, r)
		}
	}
	if len(up) == 0 {
		w.After(100*time.Millisecond, c.connect)
		return
	}
	r := up[w.Rand.IntN(len(up))]
	r.ids++
	k := &conn{id: r.ids, client: c, lane: r.lane(w.shape.part(c.room)), opt: hub.JoinOptions{Numbered: c.numbered, NoEcho: c.noEcho}}
	k.ear.conn = k
	switch {
	case !c.numbered:
	case c.since != proto.Position{}:
		k.opt.Resume, k.opt.Since = true, c.since
	case w.Chance(0.3):
		k.opt.All = true
	}
	k.member.ID = k.id
	c.now = k
	w.Trace("client %d joins %s at %s as conn %d, %+v", c.number, c.room, r.name, k.id, k.opt)
	k.lane.conns = append(k.lane.conns, k)
	k.lane.hub.Join(&k.member, []byte(c.room), k.opt, w.Time())
	k.lane.wake()
}

// again has a client without a conn come back.
func (c *client) again() {
	c.now = nil
	c.w.After(c.w.Between(time.Millisecond, 500*time.Millisecond), c.connect)
}

// talk publishes, and goes on doing so.
func (c *client) talk() {
	w := c.w
	if c.gone || w.Now >= w.end+chatter {
		return
	}
	if k := c.now; k != nil && k.state == connOpen && !k.paused && k.lane.isAlive() && !k.lane.router.frozen {
		for range 1 + w.Rand.IntN(3)*w.Rand.IntN(3) {
			if !k.paused {
				k.publish()
			}
		}
		k.lane.wake()
	}
	w.After(time.Duration(w.Rand.Int64N(int64(2*w.shape.talk))), c.talk)
}

func (k *conn) publish() {
	w := k.client.w
	k.said++
	x := &publication{router: k.lane.router, room: k.client.room, conn: k, number: k.said, kind: proto.Kind(w.Rand.IntN(2))}
	size := w.Rand.IntN(w.shape.maxMessage)
	if x.tooBig = w.Chance(0.02); x.tooBig {
		size = w.shape.maxMessage + 1
	}
	x.payload = fmt.Sprintf("%s.%d.%d", k.lane.router.name.ID(), k.id, k.said)
	x.payload += "@" + strings.TrimLeft(k.lane.router.name.Incarnation().String(), "0") + "."
	x.payload += strings.Repeat("x", max(size-len(x.payload), 0))
	w.ledger.messages[x.payload] = x
	k.lane.router.sent = append(k.lane.router.sent, x)
	w.report.Published++
	w.Trace("conn %d at %s publishes %.24q", k.id, k.lane.router.name, x.payload)
	if k.paused = !k.lane.hub.Publish(&k.member, x.kind, []byte(x.payload), w.Time()); k.paused {
		w.report.Told[toldPaused]++
	}
}

// leave ends a conn from the client's side: what it has not read is lost.
func (c *client) leave() {
	if k := c.now; k != nil && k.state < connClosing && k.lane.isAlive() && !k.lane.router.frozen {
		c.w.Trace("client %d leaves conn %d", c.number, k.id)
		k.lane.hub.Leave(&k.member, c.w.Time())
		k.remove()
		k.state = connGone
		k.lane.wake()
		c.again()
	}
}

func (k *conn) remove() { k.lane.conns = without(k.lane.conns, k) }

// lost is what a client sees of its router's death.
func (k *conn) lost() {
	if k.state != connGone {
		k.state = connGone
		k.client.again()
	}
}

// Write is the socket's: it takes what fits, and at times less.
func (l *routerLane) Write(m *hub.Member, b []byte) int {
	k := l.conn(m)
	if k.state != connOpen || len(b) == 0 {
		l.w().Fail("%s writes %d bytes to conn %d in state %d", l.router.name, len(b), k.id, k.state)
	}
	if len(k.out) > 0 {
		k.owed = true
		return 0
	}
	n := k.put(b)
	k.owed = k.owed || n < len(b)
	l.w().Trace("%s: conn %d takes %d of %d bytes", l.router.name, k.id, n, len(b))
	return n
}

func (k *conn) put(b []byte) int {
	w := k.client.w
	n := min(len(b), w.shape.socket-len(k.wire))
	if n > 0 && w.Chance(0.05) {
		n = w.Rand.IntN(n)
	}
	k.wire = append(k.wire, b[:n]...)
	k.expect()
	return n
}

// expect has the client read soon.
func (k *conn) expect() {
	if !k.reading {
		k.reading = true
		k.client.w.After(k.client.w.Between(50*time.Microsecond, 5*time.Millisecond), k.read)
	}
}

func (k *conn) read() {
	c, w := k.client, k.client.w
	k.reading = false
	if k.state == connGone {
		return
	}
	if c.stalled > w.Now {
		k.reading = true
		w.After(c.stalled-w.Now, k.read)
		return
	}
	w.Trace("client %d reads %d bytes", c.number, len(k.wire))
	k.ear.hear(k.wire)
	k.wire = nil
	w.After(w.Between(20*time.Microsecond, time.Millisecond), k.ready)
}

// ready: the socket takes more. The router hears of it when it runs, and the
// client of the router's death when it dies.
func (k *conn) ready() {
	switch r := k.lane.router; {
	case !r.alive:
		k.lost()
	case r.frozen:
		k.client.w.After(50*time.Millisecond, k.ready)
	default:
		k.writable()
	}
}

// writable is what the router's loop does when a socket takes more.
func (k *conn) writable() {
	if k.state == connGone {
		return
	}
	if len(k.out) > 0 {
		if k.out = k.out[k.put(k.out):]; len(k.out) > 0 {
			k.expect()
			return
		}
	}
	switch {
	case k.state == connClosing && len(k.wire) == 0:
		k.ear.end()
		k.state = connGone
		k.client.again()
	case k.state == connOpen && k.owed:
		k.owed = false
		k.lane.hub.Writable(&k.member)
		k.lane.wake()
	}
}

// Joined is the answer 101; for a numbered member its first line follows.
func (l *routerLane) Joined(m *hub.Member, first []byte) {
	k := l.conn(m)
	if k.state != connJoining || k.client.numbered != (first != nil) {
		l.w().Fail("%s: conn %d joined in state %d with %q", l.router.name, k.id, k.state, first)
	}
	l.w().Trace("%s: conn %d joined %s", l.router.name, k.id, first[min(2, len(first)):])
	k.state = connOpen
	k.ear.begin()
	if n := k.put(first); n < len(first) {
		k.out = bytes.Clone(first[n:])
	}
}

// Refused is an answer other than 101.
func (l *routerLane) Refused(m *hub.Member, code proto.Code) {
	k := l.conn(m)
	if k.state != connJoining {
		l.w().Fail("%s: conn %d refused in state %d", l.router.name, k.id, k.state)
	}
	l.w().Trace("%s: conn %d refused: %v", l.router.name, k.id, code)
	if l.w().calm && code != proto.Unavailable {
		l.w().Fail("%s: conn %d refused: %v", l.router.name, k.id, code)
	}
	l.w().report.Told[toldRefused]++
	k.remove()
	k.state = connGone
	k.client.again()
}

// Resume ends a push-back.
func (l *routerLane) Resume(m *hub.Member) {
	k := l.conn(m)
	if !k.paused {
		l.w().Fail("%s: conn %d may go on and was not paused", l.router.name, k.id)
	}
	k.paused = false
}

// Slow closes a member that fell behind.
func (l *routerLane) Slow(m *hub.Member) {
	k := l.conn(m)
	if !l.w().shape.narrow && max(k.client.stalled, l.router.woke)+silence < l.w().Now {
		l.w().Fail("%s: conn %d is slow, and did not stall", l.router.name, k.id)
	}
	k.close(toldSlow)
}

// Expired closes a member with a publish that could not be placed.
func (l *routerLane) Expired(m *hub.Member) { l.conn(m).close(toldExpired) }

// close says what is left of a frame, then nothing more.
func (k *conn) close(why told) {
	w := k.client.w
	w.Trace("%s: conn %d is closed: %v", k.lane.router.name, k.id, why)
	if k.state != connOpen {
		w.Fail("%s: conn %d is %v in state %d", k.lane.router.name, k.id, why, k.state)
	}
	w.report.Told[why]++
	k.out = append(bytes.Clone(k.lane.hub.Rest(&k.member)), k.out...)
	k.state = connClosing
	k.remove()
	k.expect()
}

// Placed is for members with receipts, which nobody here is.
func (l *routerLane) Placed(m *hub.Member, _ proto.Position, _ proto.Code) {
	l.w().Fail("%s tells conn %d where its message is", l.router.name, l.conn(m).id)
}
