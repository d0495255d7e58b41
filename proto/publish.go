package proto

import "encoding/binary"

// Kind says what a message is to its readers.
type Kind uint8

// The kinds. A void uses up its seq and is told to nobody (rule R8).
const (
	KindText   Kind = 0
	KindBinary Kind = 1
	KindVoid   Kind = 2
)

// Publish is one message on its way to the owner of its room.
type Publish struct {
	Partition Partition
	Term      Term
	Seq       Seq
	Base      Seq // lowest unacknowledged; never above Seq
	Kind      Kind
	Conn      uint64 // the publishing conn at its router, 0 for none; perhaps with TimedConn
	Room      []byte
	Payload   []byte
}

// TimedConn is a bit of the number of a conn that is left clear, for its router to
// mark a publish with that it times. Nobody else cares.
const TimedConn = 1 << 62

const publishFixed = 2 + 8 + 8 + 8 + 1 + 8 + 1

// Size is the length of the whole frame in bytes.
func (x *Publish) Size() int { return HeaderSize + publishFixed + len(x.Room) + len(x.Payload) }

// AppendPublish appends the frame.
func AppendPublish(b []byte, x *Publish) []byte {
	b, start := Begin(b, FramePublish)
	b = appendHead(b, x.Partition, x.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Seq))
	b = binary.BigEndian.AppendUint64(b, uint64(x.Base))
	b = append(b, byte(x.Kind))
	b = binary.BigEndian.AppendUint64(b, x.Conn)
	b = appendRoom(b, x.Room)
	b = append(b, x.Payload...)
	return End(b, start)
}

// ParsePublish reads the body of a Publish. Seqs begin at 1 and Base is not
// above Seq.
func ParsePublish(body []byte) (x Publish, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Seq, x.Base = Seq(f.u64()), Seq(f.u64())
	x.Kind, x.Conn = Kind(f.u8()), f.u64()
	x.Room, x.Payload = f.room(), f.b
	if err := f.err(); err != nil {
		return x, err
	}
	if x.Kind > KindVoid || x.Base == 0 || x.Base > x.Seq {
		return x, ErrValue
	}
	return x, nil
}

// Result is what an Ack says of one publish.
type Result struct {
	Seq    Seq
	Code   Code
	Epoch  Epoch
	Offset Offset
}

const resultSize = 8 + 1 + epochSize + 8

// MaxResults bounds the results of one Ack: its count has 16 bits and the frame
// must stay within MaxFrame.
const MaxResults = 16384

// Ack says that all publishes up to Upto are settled: in the log on every
// in-sync copy, or refused. AppendAck takes the results as a slice; a parsed
// Ack has them as bytes, read with Next.
type Ack struct {
	Partition Partition
	Term      Term
	Upto      Seq
	Results   Results
}

// Results is the list of results in an Ack.
type Results struct{ b []byte }

// Next takes the first result off the list.
func (r *Results) Next() (x Result, ok bool) {
	if len(r.b) < resultSize {
		return x, false
	}
	f := fields{b: r.b}
	x.Seq, x.Code, x.Epoch, x.Offset = Seq(f.u64()), Code(f.u8()), f.epoch(), Offset(f.u64())
	r.b = f.b
	return x, true
}

// AppendAck appends the frame; at most MaxResults results.
func AppendAck(b []byte, p Partition, t Term, upto Seq, results []Result) []byte {
	b, start := Begin(b, FrameAck)
	b = appendHead(b, p, t)
	b = binary.BigEndian.AppendUint64(b, uint64(upto))
	b = binary.BigEndian.AppendUint16(b, uint16(len(results)))
	for i := range results {
		r := &results[i]
		b = binary.BigEndian.AppendUint64(b, uint64(r.Seq))
		b = append(b, byte(r.Code))
		b = append(b, r.Epoch[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(r.Offset))
	}
	return End(b, start)
}

// ParseAck reads the body of an Ack.
func ParseAck(body []byte) (x Ack, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Upto = Seq(f.u64())
	n := int(f.u16())
	if n > MaxResults {
		return x, ErrValue
	}
	x.Results.b = f.take(n * resultSize)
	return x, f.end()
}
