package proto

import "encoding/binary"

// Batch is a frame about many rooms of one partition: Attach, Attached, Detach
// and Members. It is written with BeginBatch, one Append… per room, and End; it
// is read with ParseBatch and Next… until that reports false, then Err.
type Batch struct {
	Partition Partition
	Term      Term
	f         fields
}

// BeginBatch starts a frame of the given type; End(b, start) closes it.
func BeginBatch(b []byte, t FrameType, p Partition, term Term) (frame []byte, start int) {
	b, start = Begin(b, t)
	return appendHead(b, p, term), start
}

// ParseBatch reads what the entries have in common.
func ParseBatch(body []byte) (x Batch, err error) {
	x.f.b = body
	x.Partition, x.Term = x.f.head()
	return x, x.f.err()
}

// Err reports an entry that broke off.
func (x *Batch) Err() error { return x.f.err() }

func (x *Batch) more() bool { return !x.f.bad && len(x.f.b) > 0 }

// AttachEntry asks to hear a room: what is above Offset of Epoch, then live; no
// epoch means live from the head.
type AttachEntry struct {
	Room   []byte
	Epoch  Epoch
	Offset Offset
}

// AppendAttachEntry appends to an Attach batch.
func AppendAttachEntry[T string | []byte](b []byte, room T, e Epoch, o Offset) []byte {
	b = append(appendRoom(b, room), e[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(o))
}

// NextAttach reads the next entry of an Attach.
func (x *Batch) NextAttach() (e AttachEntry, ok bool) {
	if !x.more() {
		return e, false
	}
	e.Room, e.Epoch, e.Offset = x.f.room(), x.f.epoch(), Offset(x.f.u64())
	return e, !x.f.bad
}

// Status says how an attachment continues what the router had.
type Status uint8

// The statuses.
const (
	StatusWhole   Status = 0 // nothing is missing
	StatusGap     Status = 1 // history does not reach: messages are missing before Offset + 1
	StatusReset   Status = 2 // the epoch is another one, or the position was above the log
	StatusRefused Status = 3 // the owner will not have the room; Offset is a Code
)

// AttachedEntry answers an AttachEntry: the next Deliver is Offset + 1 of Epoch.
type AttachedEntry struct {
	Room   []byte
	Epoch  Epoch
	Offset Offset
	First  Offset // lowest kept; head + 1 when nothing is
	Status Status
}

// AppendAttachedEntry appends to an Attached batch.
func AppendAttachedEntry(b []byte, e *AttachedEntry) []byte {
	b = append(appendRoom(b, e.Room), e.Epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(e.First))
	return append(b, byte(e.Status))
}

// NextAttached reads the next entry of an Attached.
func (x *Batch) NextAttached() (e AttachedEntry, ok bool) {
	if !x.more() {
		return e, false
	}
	e.Room, e.Epoch = x.f.room(), x.f.epoch()
	e.Offset, e.First, e.Status = Offset(x.f.u64()), Offset(x.f.u64()), Status(x.f.u8())
	if e.Status > StatusRefused {
		x.f.bad = true
	}
	return e, !x.f.bad
}

// AppendDetachEntry appends to a Detach batch.
func AppendDetachEntry[T string | []byte](b []byte, room T) []byte { return appendRoom(b, room) }

// NextDetach reads the next room of a Detach.
func (x *Batch) NextDetach() (room []byte, ok bool) {
	if !x.more() {
		return nil, false
	}
	room = x.f.room()
	return room, !x.f.bad
}

// AppendMembersEntry appends to a Members batch: so many conns of this router
// are in the room.
func AppendMembersEntry[T string | []byte](b []byte, room T, count uint32) []byte {
	return binary.BigEndian.AppendUint32(appendRoom(b, room), count)
}

// NextMembers reads the next entry of a Members.
func (x *Batch) NextMembers() (room []byte, count uint32, ok bool) {
	if !x.more() {
		return nil, 0, false
	}
	room, count = x.f.room(), x.f.u32()
	return room, count, !x.f.bad
}
