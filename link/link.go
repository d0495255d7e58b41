package link

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/proto"
)

// Events is how a lane hears of its links. All calls are on the lane's loop.
type Events interface {
	// Up says that l is open. It comes before any Frame of l.
	Up(l *Link)

	// Down says that l has ended, by whichever side; exactly once after each
	// Up, and never from inside a method of l. Frames not yet written are lost.
	Down(l *Link, err error)

	// Frame is one frame that arrived; body is valid until it returns. A data
	// frame's credit goes back to the peer once it has returned: what it says
	// must be stored by then. The lane calls l.Fail if the frame is malformed.
	Frame(l *Link, t proto.FrameType, body []byte)
}

// Errors that Down tells.
var (
	ErrSilent   = errors.New("peer was silent for 1.5 s")
	ErrReplaced = errors.New("peer opened a newer link")
	ErrEOF      = errors.New("peer closed the connection")
)

// Goodbye is the error of a link that ended in order, by Close on either side.
type Goodbye struct {
	Reason string

	// Leaves says that this run of the node ends and will not act again: no
	// stream of it is open any more, and nothing that it held back will go out.
	// Without it, only the link ends.
	Leaves bool

	Remote bool // the peer said it
}

func (g *Goodbye) Error() string {
	if g.Remote && g.Leaves {
		return "peer leaves: " + g.Reason
	}
	if g.Remote {
		return "peer said goodbye: " + g.Reason
	}
	return "closed: " + g.Reason
}

// linger is how long a link that said goodbye waits for the peer to close, so
// that the goodbye is not lost to a reset.
const linger = time.Second

// shrinkEvery is how often idle buffers are looked at.
const shrinkEvery = time.Second

type state uint8

const (
	stateNew state = iota // not on its loop yet
	stateUp
	stateLeaving // goodbye said: nothing is sent or heard, the peer's close is awaited
	stateClosed
)

// Link is one connection to another node, on the loop of its lane. All methods
// must be called on that loop; on a link that has ended they do nothing.
type Link struct {
	// Set before Up, then only read.
	peer   Peer
	lane   *lane
	socket poll.Socket
	ended  chan struct{} // closed when the link is no longer up

	claimed atomic.Bool // by the loop that opens socket, or by who gives it up unopened

	// Owned by the lane's loop.
	conn    poll.Conn
	flow    flow
	pulse   pulse
	state   state
	blocked bool      // the last write was short
	left    time.Time // when goodbye was said, by the ticks
	shrunk  time.Time
	err     error // why it is no longer up
	told    bool  // Down was called
}

func newLink(p Peer, s poll.Socket, on *lane) *Link {
	return &Link{peer: p, lane: on, socket: s, ended: make(chan struct{}), flow: newFlow()}
}

// giveUp closes a link that no loop has opened, and perhaps never will.
func (l *Link) giveUp() {
	if !l.claimed.Swap(true) {
		l.socket.Close()
		close(l.ended)
	}
}

// Peer is who is at the other end.
func (l *Link) Peer() Peer { return l.peer }

// Space is how many bytes of data frames may be encoded now: what credit and
// HighWater leave. 0 means stop: a later Turn may find more. The last frame may
// be longer than Space says; it then waits for its credit, and Space stays 0.
func (l *Link) Space() int {
	if l.state != stateUp {
		return 0
	}
	return l.flow.space()
}

// Data has f append whole data frames to b; they go out with the next Flush, in
// order, after all control frames.
func (l *Link) Data(f func(b []byte) []byte) {
	if l.state == stateUp {
		l.flow.putData(f)
	}
}

// Control has f append whole control frames to b; they go out with the next
// Flush, before all data frames that have not been written yet.
func (l *Link) Control(f func(b []byte) []byte) {
	if l.state == stateUp {
		l.flow.putControl(f)
	}
}

// Flush writes what waits, as far as the connection takes it, and returns
// credit that is due. The lane calls it at the end of its Turn (or
// Mesh.Flush for all its links); with nothing to do it costs next to nothing.
func (l *Link) Flush() {
	if l.state != stateUp {
		return
	}
	l.flow.repay()
	if l.flow.control.len() > maxControl {
		l.Fail(ErrControlFull)
		return
	}
	l.write()
	if l.flow.n != (tally{}) {
		l.lane.counters.add(&l.flow.n)
	}
}

func (l *Link) write() {
	for !l.blocked {
		b := l.flow.next()
		if len(b) == 0 {
			return
		}
		n := l.conn.Write(b)
		l.flow.wrote(n)
		l.pulse.out = true
		l.blocked = n < len(b)
	}
}

// Tick keeps the heartbeat. The lane calls it (or Mesh.Tick for all its links)
// from its loop's Tick, at least every 100 ms.
func (l *Link) Tick(now time.Time) {
	if l.state == stateLeaving {
		l.awaitClose(now)
	}
	if l.state != stateUp {
		return
	}
	ping, silent := l.pulse.tick(now)
	if silent {
		l.Fail(ErrSilent)
		return
	}
	// What waits to be written already is as good as a ping.
	if ping && l.flow.idle() {
		l.flow.putControl(func(b []byte) []byte { return proto.AppendEmpty(b, proto.FramePing) })
	}
	if now.Sub(l.shrunk) >= shrinkEvery {
		l.shrunk = now
		l.flow.shrink()
	}
	l.Flush()
}

func (l *Link) awaitClose(now time.Time) {
	if l.left.IsZero() {
		l.left = now
	}
	if now.Sub(l.left) >= linger {
		l.end()
	}
}

// Close says goodbye with a reason and ends the link in order. Down follows
// from the loop.
func (l *Link) Close(reason string) { l.close(&Goodbye{Reason: reason}) }

func (l *Link) close(g *Goodbye) {
	if l.state != stateUp {
		return
	}
	g.Reason = g.Reason[:min(len(g.Reason), maxReason)]
	l.flow.putControl(func(b []byte) []byte {
		return proto.AppendGoodbye(b, &proto.Goodbye{Leaves: g.Leaves, Reason: []byte(g.Reason)})
	})
	l.Flush()
	if l.state != stateUp { // that failed
		return
	}
	l.conn.CloseWrite()
	l.state = stateLeaving
	l.over(g)
}

// Fail ends the link at once, without goodbye: its bytes make no sense, or it
// is of no use any more. Down follows from the loop.
func (l *Link) Fail(err error) {
	if l.state == stateUp {
		l.end()
		l.over(err)
	}
}

// end closes the connection for good.
func (l *Link) end() {
	l.state = stateClosed
	l.conn.Close()
	l.lane.drop(l)
}

// over has Down called, later: the caller may be in the middle of a walk over
// its links.
func (l *Link) over(err error) {
	l.err = err
	l.lane.loop.Post(l.tell)
}

// tell calls Down, once.
func (l *Link) tell() {
	if l.told || l.err == nil {
		return
	}
	l.told = true
	l.lane.counters.add(&l.flow.n)
	l.flow = flow{}
	l.lane.down(l, l.err)
}

// driven is a Link as its loop sees it. Its methods run on top of the loop's
// stack, so they may tell the lane directly.
type driven Link

// Data is called by the loop with what arrived.
func (d *driven) Data(b []byte) int {
	l := (*Link)(d)
	if l.state != stateUp {
		return len(b)
	}
	l.pulse.in = true
	n, err := l.flow.receive(b, d)
	l.lane.counters.add(&l.flow.n)
	if err != nil {
		l.Fail(err)
	}
	if l.state != stateUp {
		l.tell()
		return len(b)
	}
	return n
}

// frame handles what is the link's own and hands the rest to the lane.
func (d *driven) frame(t proto.FrameType, body []byte) (bool, error) {
	l := (*Link)(d)
	switch t {
	case proto.FramePing:
		l.flow.putControl(func(b []byte) []byte { return proto.AppendEmpty(b, proto.FramePong) })
	case proto.FramePong:
	case proto.FrameGoodbye:
		x, err := proto.ParseGoodbye(body)
		if err != nil {
			return false, err // perhaps half of one: it must not pass for a leave
		}
		return false, &Goodbye{Reason: printable(x.Reason), Leaves: x.Leaves, Remote: true}
	case proto.FrameHello, proto.FrameAnswer, proto.FrameProof, proto.FrameWelcome, proto.FrameRefuse:
		return false, ErrHelloAgain
	default:
		l.lane.events.Frame(l, t, body)
	}
	return l.state == stateUp, nil
}

// EOF is called by the loop when the peer closed its direction.
func (d *driven) EOF() { (*Link)(d).gone(ErrEOF) }

// Writable is called by the loop when the connection takes more.
func (d *driven) Writable() {
	l := (*Link)(d)
	l.blocked = false
	l.Flush()
}

// Broken is called by the loop when the connection is gone.
func (d *driven) Broken(err error) { (*Link)(d).gone(fmt.Errorf("connection: %w", err)) }

func (l *Link) gone(err error) {
	switch l.state {
	case stateLeaving:
		l.end()
	case stateUp:
		l.Fail(err)
	}
	l.tell()
}
