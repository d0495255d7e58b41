package proto

import "encoding/binary"

// Signal is the body that Expect, Hold, Go, Moved and Fenced share; Seq is
// zero, and not on the wire, for the last three.
type Signal struct {
	Partition Partition
	Term      Term
	Seq       Seq
}

func (t FrameType) hasSeq() bool { return t == FrameExpect || t == FrameHold }

// AppendSignal appends an Expect, Hold, Go, Moved or Fenced frame.
func AppendSignal(b []byte, t FrameType, x Signal) []byte {
	b, start := Begin(b, t)
	b = appendHead(b, x.Partition, x.Term)
	if t.hasSeq() {
		b = binary.BigEndian.AppendUint64(b, uint64(x.Seq))
	}
	return End(b, start)
}

// ParseSignal reads the body of an Expect, Hold, Go, Moved or Fenced frame.
func ParseSignal(t FrameType, body []byte) (x Signal, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	if t.hasSeq() {
		x.Seq = Seq(f.u64())
	}
	return x, f.end()
}

// AppendCredit appends a Credit frame: so many more bytes of data frames may
// come.
func AppendCredit(b []byte, bytes uint64) []byte {
	b, start := Begin(b, FrameCredit)
	return End(binary.BigEndian.AppendUint64(b, bytes), start)
}

// ParseCredit reads the body of a Credit.
func ParseCredit(body []byte) (uint64, error) {
	f := fields{b: body}
	n := f.u64()
	return n, f.end()
}

// Goodbye is the last frame of an orderly end.
type Goodbye struct {
	Leaves bool   // this run of the node will not act again
	Reason []byte // UTF-8 for people, at most 512 bytes
}

// AppendGoodbye appends the frame.
func AppendGoodbye(b []byte, x *Goodbye) []byte {
	b, start := Begin(b, FrameGoodbye)
	leaves := byte(0)
	if x.Leaves {
		leaves = 1
	}
	return End(append(append(b, leaves), x.Reason...), start)
}

// ParseGoodbye reads the body of a Goodbye. The reason is a part of it, and may
// be anything.
func ParseGoodbye(body []byte) (x Goodbye, err error) {
	f := fields{b: body}
	leaves := f.u8()
	if leaves > 1 {
		return x, ErrValue
	}
	x.Leaves, x.Reason = leaves == 1, f.b
	return x, f.err()
}

// Ask is an admin question to another node; Reply with the same ID answers it.
// What the body is depends on the kind.
type Ask struct {
	ID   uint64
	Kind uint8
	Body []byte
}

// AppendAsk appends the frame.
func AppendAsk(b []byte, x *Ask) []byte {
	b, start := Begin(b, FrameAsk)
	b = binary.BigEndian.AppendUint64(b, x.ID)
	b = append(b, x.Kind)
	return End(append(b, x.Body...), start)
}

// ParseAsk reads the body of an Ask.
func ParseAsk(body []byte) (x Ask, err error) {
	f := fields{b: body}
	x.ID, x.Kind = f.u64(), f.u8()
	x.Body = f.b
	return x, f.err()
}

// Reply answers an Ask. Status is an HTTP status; with 200 the body is JSON.
type Reply struct {
	ID     uint64
	Status uint16
	Body   []byte
}

// AppendReply appends the frame.
func AppendReply(b []byte, x *Reply) []byte {
	b, start := Begin(b, FrameReply)
	b = binary.BigEndian.AppendUint64(b, x.ID)
	b = binary.BigEndian.AppendUint16(b, x.Status)
	return End(append(b, x.Body...), start)
}

// ParseReply reads the body of a Reply.
func ParseReply(body []byte) (x Reply, err error) {
	f := fields{b: body}
	x.ID, x.Status = f.u64(), f.u16()
	x.Body = f.b
	return x, f.err()
}
