package hub

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// Member is one conn's presence in one room. It is embedded by value in the
// router's conn; the caller sets ID and touches nothing else. A Member may be
// used again, with a new ID, after it left.
type Member struct {
	// ID is the conn's number, unique for the life of the router, never zero
	// and without proto.TimedConn: the conn of Publish and Deliver frames.
	ID uint64

	room   *room
	cursor *cursor // nil: at the live end
	wait   *wait   // not nil: not joined yet

	at     int32 // its place in chain.readers, room.waiting or room.receipts
	lagAt  int32 // its place in hub.lagging, while it has a cursor
	parked int32 // 1 + its place in hub.parked, 0 for none
	bytes  int32 // unacknowledged
	count  int32 // unacknowledged messages
	flags  flags
}

type flags uint8

const (
	flagNumbered flags = 1 << iota
	flagNoEcho
	flagReceipts
	flagPaused   // told to stop reading
	flagUnplaced // with Receipts: published, and not told yet where that is
	flagUnsure   // the same, and there was a gap since
)

// Sink is what the hub does to members. It is called from within the hub's
// methods. A callback other than Write may call Publish, Leave and Rest for the
// member it is about, and nothing else of the hub; Write may call nothing.
type Sink interface {
	// Write hands bytes to the member's socket and returns how many it took.
	// It never blocks. After it took less than all, the lane calls Writable
	// once the socket takes more.
	Write(m *Member, b []byte) int
	// Joined says that the member is attached: answer 101 now. For a numbered
	// member, first is the frame of its first line, to be sent right behind
	// the answer (it is nil for a plain one); it is valid during the call. What
	// does not fit into the socket the caller keeps, and until that is gone
	// its Write takes nothing.
	Joined(m *Member, first []byte)
	// Refused says that the member could not join. It has left. The code is the
	// owner's, Unavailable when it did not answer within JoinTimeout, or
	// Unrecovered when Since is in its log and was not committed within
	// CommitTimeout: then answer 101, and close with 1013.
	Refused(m *Member, code proto.Code)
	// Resume says that the member's socket may be read again.
	Resume(m *Member)
	// Slow says that the member fell behind the tail: close it with 4008,
	// behind Rest. It has left when the call returns.
	Slow(m *Member)
	// Expired says that a publish of the member could not be placed in time:
	// close it with 1013, behind Rest. It has left when the call returns.
	Expired(m *Member)
	// Placed says, for a member that joined with Receipts, where a publish of
	// its own got to, or with a code other than OK that it was refused. It may
	// be told more than once. OK with the zero position says that all of them are
	// acknowledged, and that this router missed where: what it heard of the room
	// has a gap there.
	Placed(m *Member, pos proto.Position, code proto.Code)
}

// JoinOptions is how a member wants to hear a room. The zero value is a plain
// member, live from now.
//
// A numbered member's first line is a position such that the next message is
// its offset + 1. It repeats Since when the resume is whole; it ends in " gap"
// when history does not reach down to Since, and in " reset" when the epoch is
// another one (what is kept follows) or Since is above the log (only what comes
// follows). With All it is where history begins, never a gap. In mid-stream a
// line says the same of what was lost to all.
type JoinOptions struct {
	// Numbered asks for offsets before messages and a first line.
	Numbered bool
	// Resume asks for all above Since; it implies Numbered.
	Resume bool
	Since  proto.Position
	// All asks for everything that is kept (since=0); it implies Numbered.
	All bool
	// NoEcho leaves out the member's own messages.
	NoEcho bool
	// Receipts makes a member that hears nothing and is told of its own
	// publishes by Placed. It is not counted as a member of the room.
	Receipts bool
}

// wait is what is known of a member that is not joined yet.
type wait struct {
	opt   JoinOptions
	asked bool // was here when the probe that runs was made
	above bool // the owner said: Since is above its log
	need  need
	at    proto.Offset // for needHistory: the member wants what is above it
}

// need says what a waiting member waits for.
type need uint8

const (
	needNothing need = iota
	needHistory      // a fetch of what is below the tail
	needProbe        // to hear from the owner whether Since exists
	needLive         // Since exists: it will be delivered when it is committed
)

// ticket finds a member that may have left, and its Member been used again, in
// the meantime.
type ticket struct {
	m  *Member
	id uint64
	at int64 // when it is due
}

func (t ticket) waiting() bool { return t.m.ID == t.id && t.m.wait != nil }

// Join makes m a member of the room. The name has passed proto.CheckRoom and
// lives on this lane; the bytes are copied. Joined or Refused follows, perhaps
// before Join returns.
func (h *Hub) Join(m *Member, name []byte, opt JoinOptions, now time.Time) {
	if m.ID&^proto.TimedConn == 0 || m.ID&proto.TimedConn != 0 || m.room != nil {
		panic("hub: join of a member without an id, or in a room")
	}
	t := h.clock(now)
	r := h.rooms[string(name)]
	if r == nil {
		r = h.open(string(name))
	}
	m.room, m.flags = r, 0
	m.bytes, m.count, m.parked = 0, 0, 0
	if opt.Numbered || opt.Resume || opt.All {
		m.flags |= flagNumbered
	}
	if opt.NoEcho {
		m.flags |= flagNoEcho
	}
	if opt.Receipts {
		m.flags |= flagReceipts
	}
	m.wait = h.newWait()
	*m.wait = wait{opt: opt}
	m.at = int32(len(r.waiting))
	r.waiting = append(r.waiting, m)
	h.settle(r)
	if m.wait != nil && m.room == r {
		h.joining = append(h.joining, ticket{m, m.ID, t + int64(h.cfg.JoinTimeout)})
	}
}

// Leave takes m out of its room. Its unacknowledged publishes stay queued. The
// caller asks for Rest before, if it wants to finish a frame.
func (h *Hub) Leave(m *Member, now time.Time) {
	h.clock(now)
	h.leave(m)
}

func (h *Hub) leave(m *Member) {
	r := m.room
	if r == nil {
		return
	}
	switch {
	case m.wait != nil:
		r.waiting = without(r.waiting, m)
		h.freeWait(m.wait)
	case m.flags&flagReceipts != 0:
		r.receipts = without(r.receipts, m)
	default:
		h.caughtUp(m)
		c := r.chains[m.dialect()]
		c.readers = without(c.readers, m)
		h.members--
		if len(c.readers) == 0 {
			c.idleSince = h.now
			h.rest(r)
		}
		h.count(r)
	}
	if m.parked > 0 {
		h.unpark(m)
	}
	m.room, m.wait, m.flags, m.bytes, m.count = nil, nil, 0, 0, 0
	if r.empty() && !r.doomed {
		r.doomed = true
		h.doomed = append(h.doomed, r)
	}
}

// without takes m, which knows its place, out of the list; the last takes it.
func without(list []*Member, m *Member) []*Member {
	last := len(list) - 1
	list[m.at] = list[last]
	list[m.at].at = m.at
	list[last] = nil
	if last == 0 {
		return nil // one that is empty stays so, mostly: who waits, waits once
	}
	return list[:last]
}

// Joined reports whether m is attached and hears its room.
func (m *Member) Joined() bool { return m.room != nil && m.wait == nil }

func (m *Member) dialect() int {
	if m.flags&flagNumbered != 0 {
		return numbered
	}
	return plain
}

func (h *Hub) newWait() *wait {
	if w, ok := h.waits.Take(); ok {
		return w
	}
	return new(wait)
}

// spareStructs bounds each list of small structs kept for reuse.
const spareStructs = 1024

func (h *Hub) freeWait(w *wait) {
	if h.waits.Len() < spareStructs {
		h.waits.Put(w)
	}
}
