package proto

import (
	"encoding/binary"
	"fmt"
	"math"
)

// EntryKind says what an entry of a partition's log does (rule R1).
type EntryKind uint8

// The kinds. Those below EntryPublisher are in logs and travel in Append; those
// from EntryPublisher on, EntryMessage and EntryDropped travel in Snapshot.
// Numbers are never reused.
const (
	EntryMessage   EntryKind = 1 // Publisher's publish Seq is message Offset of Room
	EntryRefusal   EntryKind = 2 // it is refused with Code: it used up its Seq
	EntryVoid      EntryKind = 3 // the same, and nobody is told
	EntryCreated   EntryKind = 4 // Room begins its life as Epoch
	EntryTrimmed   EntryKind = 5 // what of Room need not be kept at At goes
	EntryForgotten EntryKind = 6 // Room is forgotten, and its epoch with it
	EntryMet       EntryKind = 7 // the router Name is Publisher from here on
	EntryLeft      EntryKind = 8 // that router left
	EntryDropped   EntryKind = 9 // it is forgotten, and what is known of its publishes; in a Snapshot: numbers up to this one were given out

	EntryPublisher EntryKind = 16 // all that is known of the router Name
	EntryRoom      EntryKind = 17 // Room begins: its messages follow, the first behind Offset
	EntryRoomEnd   EntryKind = 18 // those were all of them
)

var entryNames = map[EntryKind]string{
	EntryMessage: "message", EntryRefusal: "refusal", EntryVoid: "void",
	EntryCreated: "created", EntryTrimmed: "trimmed", EntryForgotten: "forgotten",
	EntryMet: "met", EntryLeft: "left", EntryDropped: "dropped",
	EntryPublisher: "publisher", EntryRoom: "room", EntryRoomEnd: "room-end",
}

func (k EntryKind) String() string {
	if s, ok := entryNames[k]; ok {
		return s
	}
	return fmt.Sprintf("entry(%d)", uint8(k))
}

// The sets of kinds that a frame may carry, a bit per kind.
const (
	logKinds      = 1<<EntryMessage | 1<<EntryRefusal | 1<<EntryVoid | 1<<EntryCreated | 1<<EntryTrimmed | 1<<EntryForgotten | 1<<EntryMet | 1<<EntryLeft | 1<<EntryDropped
	snapshotKinds = 1<<EntryMessage | 1<<EntryDropped | 1<<EntryPublisher | 1<<EntryRoom | 1<<EntryRoomEnd
	allKinds      = logKinds | snapshotKinds
)

// Entry is an entry of a partition's log, or a part of a snapshot. Each kind
// has some of the fields; the others are not written, and read as zero.
//
// An entry is size(4: what follows) kind(1) at(8), then:
//
//	message              publisher(4) seq(8) conn(8) offset(8) message(1) room payload
//	refusal              publisher(4) seq(8) code(1)
//	void                 publisher(4) seq(8)
//	created              epoch(13) room
//	trimmed, forgotten   room
//	met                  publisher(4) name
//	left, dropped        publisher(4)
//	publisher            publisher(4) committed(8) left(8) name {seq(8) code(1)}…
//	room                 offset(8) touched(8) epoch(13) room
//	room end             room
//
// name is length(1) bytes, like room.
type Entry struct {
	Kind EntryKind
	At   uint64 // log time in ns, below 2⁶³; of a message when it was appended

	Publisher uint32 // a router's number in its partition
	Seq       Seq    // of the publish; 0 for a message of a snapshot, which need not say
	Conn      uint64 // the publishing conn at its router, 0 for none
	Code      Code   // of a refusal, never OK
	Offset    Offset // of the message, from 1; of EntryRoom: the log begins behind it

	Room    []byte // only its size is checked: whoever creates it calls CheckRoom
	Epoch   Epoch
	Message Kind // text or binary
	Payload []byte
	Name    []byte // a router's NodeName, well formed

	Committed Seq      // of EntryPublisher: its highest seq in the log
	Left      uint64   // of EntryPublisher: log time + 1 at which it left, 0 when it did not; at most 2⁶³
	Refused   []Result // of EntryPublisher: Seq and Code of its last refusals, at most MaxRefusals
	Touched   uint64   // of EntryRoom: log time at which something last happened, below 2⁶³
}

const (
	entryHead   = 4 + 1 + 8
	refusalSize = 8 + 1
	// maxName is the longest NodeName: id, slash, incarnation.
	maxName = 63 + 1 + epochSize

	// MaxEntry is the size in bytes of the largest entry: it fills an Append,
	// and fits a Snapshot.
	MaxEntry = MaxFrame - appendFixed
	// MaxPayload is the size in bytes of the largest message that every frame
	// can carry, whatever the name of its room: Publish, Deliver, Fetched,
	// Append, and a Snapshot between its EntryRoom and its EntryRoomEnd.
	MaxPayload = MaxFrame - 1024
	// MaxRefusals bounds the refusals that an EntryPublisher tells of.
	MaxRefusals = 255
)

// entryFixed is what a kind has behind the head, without what varies in size;
// -1 for a kind that does not exist.
func entryFixed(k EntryKind) int {
	switch k {
	case EntryMessage:
		return 4 + 8 + 8 + 8 + 1 + 1
	case EntryRefusal:
		return 4 + 8 + 1
	case EntryVoid:
		return 4 + 8
	case EntryCreated:
		return epochSize + 1
	case EntryTrimmed, EntryForgotten, EntryRoomEnd:
		return 1
	case EntryMet:
		return 4 + 1
	case EntryLeft, EntryDropped:
		return 4
	case EntryPublisher:
		return 4 + 8 + 8 + 1
	case EntryRoom:
		return 8 + 8 + epochSize + 1
	}
	return -1
}

// EntrySize is what AppendEntry appends, in bytes.
func EntrySize(x *Entry) int {
	n := entryHead + entryFixed(x.Kind)
	switch x.Kind {
	case EntryMessage:
		n += len(x.Room) + len(x.Payload)
	case EntryCreated, EntryTrimmed, EntryForgotten, EntryRoom, EntryRoomEnd:
		n += len(x.Room)
	case EntryMet:
		n += len(x.Name)
	case EntryPublisher:
		n += len(x.Name) + len(x.Refused)*refusalSize
	}
	return n
}

// AppendEntry appends an entry, to an Append, a Snapshot or a list of one's own.
func AppendEntry(b []byte, x *Entry) []byte {
	size := EntrySize(x)
	b = binary.BigEndian.AppendUint32(b, uint32(size-4))
	b = binary.BigEndian.AppendUint64(append(b, byte(x.Kind)), x.At)
	switch x.Kind {
	case EntryMessage:
		b = appendPublished(b, x)
		b = binary.BigEndian.AppendUint64(b, x.Conn)
		b = binary.BigEndian.AppendUint64(b, uint64(x.Offset))
		b = appendRoom(append(b, byte(x.Message)), x.Room)
		return append(b, x.Payload...)
	case EntryRefusal:
		return append(appendPublished(b, x), byte(x.Code))
	case EntryVoid:
		return appendPublished(b, x)
	case EntryCreated:
		return appendRoom(append(b, x.Epoch[:]...), x.Room)
	case EntryTrimmed, EntryForgotten, EntryRoomEnd:
		return appendRoom(b, x.Room)
	case EntryMet:
		return appendName(binary.BigEndian.AppendUint32(b, x.Publisher), x.Name)
	case EntryLeft, EntryDropped:
		return binary.BigEndian.AppendUint32(b, x.Publisher)
	case EntryPublisher:
		return appendPublisher(b, x)
	case EntryRoom:
		b = binary.BigEndian.AppendUint64(b, uint64(x.Offset))
		b = binary.BigEndian.AppendUint64(b, x.Touched)
		return appendRoom(append(b, x.Epoch[:]...), x.Room)
	}
	panic(fmt.Sprintf("proto: an entry of kind %d", x.Kind))
}

func appendPublished(b []byte, x *Entry) []byte {
	b = binary.BigEndian.AppendUint32(b, x.Publisher)
	return binary.BigEndian.AppendUint64(b, uint64(x.Seq))
}

func appendName(b, name []byte) []byte {
	if len(name) == 0 || len(name) > maxName {
		panic(fmt.Sprintf("proto: node name of %d bytes in an entry", len(name)))
	}
	return append(append(b, byte(len(name))), name...)
}

func appendPublisher(b []byte, x *Entry) []byte {
	if len(x.Refused) > MaxRefusals {
		panic(fmt.Sprintf("proto: %d refusals in an entry", len(x.Refused)))
	}
	b = binary.BigEndian.AppendUint32(b, x.Publisher)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Committed))
	b = binary.BigEndian.AppendUint64(b, x.Left)
	b = appendName(b, x.Name)
	for i := range x.Refused {
		b = binary.BigEndian.AppendUint64(b, uint64(x.Refused[i].Seq))
		b = append(b, byte(x.Refused[i].Code))
	}
	return b
}

// ParseEntry reads one whole entry into x, size included. Room, Name and
// Payload alias raw; x.Refused is used again.
func ParseEntry(raw []byte, x *Entry) error {
	list := Entries{f: fields{b: raw}, kinds: allKinds}
	if _, ok := list.next(x); !ok && list.Err() == nil {
		return ErrShort
	}
	if list.Err() == nil && len(list.f.b) > 0 {
		return ErrTrailing
	}
	return list.Err()
}

// Entries is a list of entries: of an Append, of a Snapshot, or of bytes of
// one's own.
type Entries struct {
	f     fields
	kinds uint32
	err   error
}

// ParseEntries reads entries that AppendEntry wrote one behind the other.
func ParseEntries(b []byte) Entries { return Entries{f: fields{b: b}, kinds: allKinds} }

// Next takes the first entry off the list and reads it into x, as ParseEntry
// does.
func (l *Entries) Next(x *Entry) bool {
	_, ok := l.next(x)
	return ok
}

// NextRaw takes the first entry off the list and returns its bytes, size
// included. They are checked: ParseEntry of them does not fail.
func (l *Entries) NextRaw() (raw []byte, ok bool) {
	var x Entry
	return l.next(&x)
}

// Err reports the entry at which the list broke off.
func (l *Entries) Err() error { return l.err }

// Len is the size of what is left of the list, in bytes.
func (l *Entries) Len() int { return len(l.f.b) }

func (l *Entries) next(x *Entry) (raw []byte, ok bool) {
	if l.err != nil || len(l.f.b) == 0 {
		return nil, false
	}
	raw = l.f.b
	size := l.f.u32()
	f := fields{b: l.f.take(int(size)), bad: l.f.bad}
	if l.f.bad {
		l.err = ErrShort
		return nil, false
	}
	raw = raw[: 4+size : 4+size]
	*x = Entry{Refused: x.Refused[:0]}
	x.Kind, x.At = EntryKind(f.u8()), f.u64()
	switch {
	case f.bad:
		l.err = ErrShort
	case x.Kind >= 32 || l.kinds&(1<<x.Kind) == 0 || x.At > math.MaxInt64:
		l.err = ErrValue
	default:
		l.err = x.read(&f)
	}
	return raw, l.err == nil
}

// read reads what is behind the head: f has the rest of the entry.
func (x *Entry) read(f *fields) error {
	switch x.Kind {
	case EntryMessage:
		x.Publisher, x.Seq, x.Conn = f.u32(), Seq(f.u64()), f.u64()
		x.Offset, x.Message, x.Room = Offset(f.u64()), Kind(f.u8()), f.room()
		x.Payload = f.b
		return f.check(x.Offset > 0 && x.Message <= KindBinary)
	case EntryRefusal:
		x.Publisher, x.Seq, x.Code = f.u32(), Seq(f.u64()), Code(f.u8())
		return f.whole(x.Seq > 0 && isRefusal(x.Code))
	case EntryVoid:
		x.Publisher, x.Seq = f.u32(), Seq(f.u64())
		return f.whole(x.Seq > 0)
	case EntryCreated:
		x.Epoch, x.Room = f.epoch(), f.room()
		return f.whole(isEpoch(x.Epoch))
	case EntryTrimmed, EntryForgotten, EntryRoomEnd:
		x.Room = f.room()
	case EntryMet:
		x.Publisher, x.Name = f.u32(), f.name()
		return f.whole(isName(x.Name))
	case EntryLeft, EntryDropped:
		x.Publisher = f.u32()
	case EntryPublisher:
		return x.readPublisher(f)
	case EntryRoom:
		x.Offset, x.Touched = Offset(f.u64()), f.u64()
		x.Epoch, x.Room = f.epoch(), f.room()
		return f.whole(x.Touched <= math.MaxInt64 && isEpoch(x.Epoch))
	}
	return f.end()
}

func (x *Entry) readPublisher(f *fields) error {
	x.Publisher, x.Committed = f.u32(), Seq(f.u64())
	x.Left, x.Name = f.u64(), f.name()
	good := isName(x.Name) && x.Left <= 1<<63 && len(f.b) <= MaxRefusals*refusalSize
	for good && !f.bad && len(f.b) > 0 {
		r := Result{Seq: Seq(f.u64()), Code: Code(f.u8())}
		good = f.bad || r.Seq > 0 && isRefusal(r.Code)
		x.Refused = append(x.Refused, r)
	}
	return f.check(good)
}

// check is err, and then ErrValue for a body with a value that is not allowed.
func (f *fields) check(good bool) error {
	if f.bad {
		return ErrShort
	}
	if !good {
		return ErrValue
	}
	return nil
}

// whole is end, and then ErrValue for a body with a value that is not allowed.
func (f *fields) whole(good bool) error {
	if err := f.end(); err != nil {
		return err
	}
	return f.check(good)
}

func (f *fields) name() []byte { return f.take(int(f.u8())) }

func isName(b []byte) bool {
	if len(b) > maxName {
		return false
	}
	_, err := ParseNodeName(string(b))
	return err == nil
}

func isRefusal(c Code) bool { return c > OK && c <= Unavailable }

func isEpoch(e Epoch) bool {
	for _, c := range e {
		if _, ok := digit36(c); !ok {
			return false
		}
	}
	return true
}
