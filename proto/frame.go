package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The conversation between a router (r) and a shard (s), after the hello:
//
//	r  Attach 17 t3 {lobby, none, 0}        who owns partition 17 in term 3: let me hear lobby
//	s  Attached 17 t3 {lobby, e, 41, 12}    its log is at e.41 and begins at 12; 42 comes next
//	r  Publish 17 t3 seq 9 base 9 lobby hi  a member here says hi
//	s  Deliver 17 t3 lobby e 42 {hi}        one copy, however many members the router has
//	s  Ack 17 t3 upto 9                     9 and all below are in the log for good
//	r  Fetch 17 t3 lobby e (11, 41]         a member resumes from e.11
//	s  Fetched 17 t3 lobby e 11 {12…41}
//	r  Members 17 t3 {lobby 4}              for those who ask who is here
//	r  Detach 17 t3 {lobby}                 the last member left
//
// When something is not as the router thinks:
//
//	s  Moved 17 t4      not mine: look in the Table for term 4
//	s  Fenced 17 t4     yours is old, I am the owner of term 4
//	s  Expect 17 t3 7   I have 6 of yours, send 7 and what follows again
//	s  Hold 17 t3 9     cannot take 9 now, keep it; Go 17 t3 when I can
//
// Between the owner of a partition (o), its followers (f) and the coordinator (c):
//
//	o  Snapshot 17 t3 @40 {lobby 12…41}    to one that learns: so it was when 40 was applied
//	o  Append 17 t3 behind 41 {42 43}      copy this
//	f  Stored 17 t3 43                     I have all up to 43: commit, as far as I am concerned
//	o  Wish 17 t3 drop f                   change my row: it does not answer
//	c  Promise 17 t4                       its owner is gone: take nothing below t4
//	f  Promised 17 t4                      so be it
//
// Data frames (Publish, Attach, Attached, Detach, Deliver, Fetch, Fetched,
// Append, Snapshot) use credit and never pass each other on a link. Control
// frames need none, go first, and must be right when they overtake.
//
// All integers are big-endian. A frame is length(4: what follows) type(1) body.
// room and node are length(1) bytes; entry is laid out at Entry.

// FrameType is the first byte behind a frame's length. Numbers are never
// reused.
type FrameType uint8

// The frame types with their bodies. r → s: from router to shard.
const (
	FrameHello   FrameType = 0x01 // opening of a link: see package link
	FrameAnswer  FrameType = 0x02 // the accepting side's answer and proof
	FrameProof   FrameType = 0x03 // the dialing side's proof
	FrameWelcome FrameType = 0x04 // the link is open
	FrameRefuse  FrameType = 0x05 // code(1), reason: it is not

	FramePublish FrameType = 0x10 // partition(2) term(8) seq(8) base(8) kind(1) conn(8) room payload: r → s; base is the lowest unacknowledged seq
	FrameAck     FrameType = 0x11 // partition(2) term(8) upto(8) n(2) n×{seq(8) code(1) epoch(13) offset(8)}: s → r; all up to upto are settled, results for those that have something to say
	FrameExpect  FrameType = 0x12 // partition(2) term(8) seq(8): s → r; send again from seq
	FrameHold    FrameType = 0x13 // partition(2) term(8) seq(8): s → r; keep seq and above until Go or a newer term
	FrameGo      FrameType = 0x14 // partition(2) term(8): s → r
	FrameMoved   FrameType = 0x15 // partition(2) term(8): s → r; not mine, term is what I know
	FrameFenced  FrameType = 0x16 // partition(2) term(8): your term is old, I know this one
	FrameStored  FrameType = 0x17 // partition(2) term(8) index(8) teaching(1) flags(1): f → o; all up to index is here; flags: 1 the copy is whole, 2 send again from behind index

	FrameAttach   FrameType = 0x20 // partition(2) term(8) {room epoch(13) offset(8)}…: r → s; replayed above offset, then live; no epoch: live only
	FrameAttached FrameType = 0x21 // partition(2) term(8) {room epoch(13) offset(8) first(8) status(1)}…: s → r; offset + 1 comes next
	FrameDetach   FrameType = 0x22 // partition(2) term(8) {room}…: r → s
	FrameDeliver  FrameType = 0x23 // partition(2) term(8) room epoch(13) offset(8) {kind(1) conn(8) size(4) payload}…: s → r; one per router, however many members
	FrameFetch    FrameType = 0x24 // partition(2) term(8) room epoch(13) after(8) upto(8): r → s; history in (after, upto]
	FrameFetched  FrameType = 0x25 // partition(2) term(8) room epoch(13) after(8) last(1) {as in Deliver}…: s → r; the first message is after + 1
	FrameMembers  FrameType = 0x27 // partition(2) term(8) {room count(4)}…: r → s
	FrameAppend   FrameType = 0x28 // partition(2) term(8) prev(8) prevTerm(8) commit(8) entryTerm(8) {entry}…: o → f; entries behind prev, see Entry
	FrameSnapshot FrameType = 0x29 // partition(2) term(8) index(8) teaching(1) flags(1) {entry}…: o → learner; as of index; flags: 1 the copy's first, 2 its last

	FramePing    FrameType = 0x30 // heartbeat
	FramePong    FrameType = 0x31 // its answer
	FrameCredit  FrameType = 0x32 // bytes(8): so many more bytes of data frames may come
	FrameGoodbye FrameType = 0x33 // leaves(1) reason: the last frame of an orderly end; leaves is 1 when this run of the node will not act again, else 0

	FrameTable    FrameType = 0x40 // the whole Table: see package cluster
	FrameDelta    FrameType = 0x41 // rows that changed: see package cluster
	FrameTableGet FrameType = 0x42 // version(8): send me the whole Table; version is what I have, 0 for nothing
	FrameVersion  FrameType = 0x43 // announcement of the sender's Table: see package cluster
	FrameWitness  FrameType = 0x44 // deaths that the sender has seen: see package cluster
	FrameFound    FrameType = 0x45 // shall we found the cluster: see package cluster
	FrameAgree    FrameType = 0x46 // yes: see package cluster
	FramePromise  FrameType = 0x47 // {partition(2) term(8)}…: c → f; take nothing below term any more
	FramePromised FrameType = 0x48 // {partition(2) term(8) status(1)}…: f → c
	FrameWish     FrameType = 0x49 // {partition(2) term(8) kind(1) above(8) node}…: o → c; change my row

	FrameAsk   FrameType = 0x50 // id(8) kind(1) body: an admin question
	FrameReply FrameType = 0x51 // id(8) status(2) body
)

const (
	// MaxFrame bounds a whole frame, header included, in bytes. A longer one
	// closes the link.
	MaxFrame = 1 << 20
	// HeaderSize is length(4) type(1).
	HeaderSize = 5
	// VersionMin and VersionMax are the protocol versions this build speaks.
	VersionMin uint16 = 1
	VersionMax uint16 = 1
)

// Errors of the parsers.
var (
	ErrFrameSize = errors.New("frame: size out of bounds")
	ErrShort     = errors.New("frame: body too short")
	ErrTrailing  = errors.New("frame: bytes behind its end")
	ErrValue     = errors.New("frame: field out of range")
)

// Data reports whether the frame uses credit and keeps its order. All others
// are control frames.
func (t FrameType) Data() bool {
	switch t {
	case FramePublish, FrameAttach, FrameAttached, FrameDetach, FrameDeliver, FrameFetch, FrameFetched, FrameAppend, FrameSnapshot:
		return true
	}
	return false
}

var frameNames = map[FrameType]string{
	FrameHello: "hello", FrameAnswer: "answer", FrameProof: "proof", FrameWelcome: "welcome", FrameRefuse: "refuse",
	FramePublish: "publish", FrameAck: "ack", FrameExpect: "expect", FrameHold: "hold", FrameGo: "go", FrameMoved: "moved", FrameFenced: "fenced", FrameStored: "stored",
	FrameAttach: "attach", FrameAttached: "attached", FrameDetach: "detach", FrameDeliver: "deliver", FrameFetch: "fetch", FrameFetched: "fetched", FrameMembers: "members", FrameAppend: "append", FrameSnapshot: "snapshot",
	FramePing: "ping", FramePong: "pong", FrameCredit: "credit", FrameGoodbye: "goodbye",
	FrameTable: "table", FrameDelta: "delta", FrameTableGet: "table-get", FrameVersion: "version",
	FrameWitness: "witness", FrameFound: "found", FrameAgree: "agree",
	FramePromise: "promise", FramePromised: "promised", FrameWish: "wish",
	FrameAsk: "ask", FrameReply: "reply",
}

func (t FrameType) String() string {
	if s, ok := frameNames[t]; ok {
		return s
	}
	return fmt.Sprintf("frame(%#02x)", uint8(t))
}

// ParseHeader reads a frame's type and whole size, header included. A size of
// 0 without an error means that b is too short to tell.
func ParseHeader(b []byte) (t FrameType, size int, err error) {
	if len(b) < HeaderSize {
		if len(b) >= 4 {
			if n := binary.BigEndian.Uint32(b); n == 0 || n > MaxFrame-4 {
				return 0, 0, ErrFrameSize
			}
		}
		return 0, 0, nil
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > MaxFrame-4 {
		return 0, 0, ErrFrameSize
	}
	return FrameType(b[4]), int(n) + 4, nil
}

// Begin starts a frame of unknown size; End closes it. What is appended to b
// in between is the body.
func Begin(b []byte, t FrameType) (frame []byte, start int) {
	return append(b, 0, 0, 0, 0, byte(t)), len(b)
}

// End fills in the length of the frame that Begin started at start.
func End(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// AppendEmpty appends a frame without a body: Ping, Pong.
func AppendEmpty(b []byte, t FrameType) []byte { return append(b, 0, 0, 0, 1, byte(t)) }

// AppendBytes appends a frame whose body is the given bytes.
func AppendBytes(b []byte, t FrameType, body []byte) []byte {
	b, start := Begin(b, t)
	return End(append(b, body...), start)
}

// fields reads a body from the front. After a failure it gives zeros, and bad
// says so: a parser checks once, at its end.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n < 0 || len(f.b) < n { // a u32 is negative as an int of 32 bits
		f.bad = true
		return nil
	}
	out := f.b[:n:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) u8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (f *fields) epoch() (e Epoch) {
	copy(e[:], f.take(epochSize))
	return e
}

// room reads a name. Only its size is checked: whoever creates a room from it
// calls CheckRoom.
func (f *fields) room() []byte {
	b := f.take(int(f.u8()))
	if len(b) == 0 {
		f.bad = true
	}
	return b
}

func (f *fields) err() error {
	if f.bad {
		return ErrShort
	}
	return nil
}

// end is err for a body that must be used up.
func (f *fields) end() error {
	if f.bad {
		return ErrShort
	}
	if len(f.b) > 0 {
		return ErrTrailing
	}
	return nil
}

func appendRoom[T string | []byte](b []byte, room T) []byte {
	if len(room) == 0 || len(room) > MaxRoom {
		panic(fmt.Sprintf("proto: room name of %d bytes in a frame", len(room)))
	}
	return append(append(b, byte(len(room))), room...)
}

// appendHead writes what every frame about a partition begins with.
func appendHead(b []byte, p Partition, t Term) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(p))
	return binary.BigEndian.AppendUint64(b, uint64(t))
}

func (f *fields) head() (Partition, Term) { return Partition(f.u16()), Term(f.u64()) }

// ParseHead reads the partition and term that the bodies of all frames about a
// partition (0x10 to 0x2f) begin with.
func ParseHead(body []byte) (Partition, Term, error) {
	f := fields{b: body}
	p, t := f.head()
	return p, t, f.err()
}
