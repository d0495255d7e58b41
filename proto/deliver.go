package proto

import "encoding/binary"

// Message is one message of a room as it travels to routers.
type Message struct {
	Kind    Kind
	Conn    uint64 // the publishing conn, told only to the router that has it, else 0
	Payload []byte
}

const messageFixed = 1 + 8 + 4

// MessageSize is what a message of n payload bytes takes in a Deliver.
func MessageSize(n int) int { return messageFixed + n }

// AppendMessage appends a message to a Deliver or Fetched.
func AppendMessage(b []byte, k Kind, conn uint64, payload []byte) []byte {
	b = append(b, byte(k))
	b = binary.BigEndian.AppendUint64(b, conn)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// Messages is the list of messages in a Deliver or Fetched.
type Messages struct {
	f fields
}

// Next takes the first message off the list; its payload aliases the frame.
func (x *Messages) Next() (m Message, ok bool) {
	if x.f.bad || len(x.f.b) == 0 {
		return m, false
	}
	m.Kind, m.Conn = Kind(x.f.u8()), x.f.u64()
	m.Payload = x.f.take(int(x.f.u32()))
	if m.Kind > KindBinary {
		x.f.bad = true
	}
	return m, !x.f.bad
}

// Err reports a message that broke off.
func (x *Messages) Err() error { return x.f.err() }

// Deliver is consecutive messages of one room: the first has Offset.
type Deliver struct {
	Partition Partition
	Term      Term
	Room      []byte
	Epoch     Epoch
	Offset    Offset
	Messages  Messages
}

// BeginDeliver starts a Deliver; AppendMessage adds to it, End closes it.
func BeginDeliver[T string | []byte](b []byte, p Partition, t Term, room T, e Epoch, first Offset) (frame []byte, start int) {
	b, start = Begin(b, FrameDeliver)
	b = append(appendRoom(appendHead(b, p, t), room), e[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(first)), start
}

// ParseDeliver reads the body of a Deliver; the messages are read with Next.
func ParseDeliver(body []byte) (x Deliver, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Room, x.Epoch, x.Offset = f.room(), f.epoch(), Offset(f.u64())
	x.Messages.f = f
	if x.Offset == 0 && !f.bad {
		return x, ErrValue
	}
	return x, f.err()
}

// Fetch asks for the kept messages above After, up to and including Upto.
type Fetch struct {
	Partition Partition
	Term      Term
	Room      []byte
	Epoch     Epoch
	After     Offset
	Upto      Offset
}

// AppendFetch appends the frame.
func AppendFetch(b []byte, x *Fetch) []byte {
	b, start := Begin(b, FrameFetch)
	b = append(appendRoom(appendHead(b, x.Partition, x.Term), x.Room), x.Epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(x.After))
	return End(binary.BigEndian.AppendUint64(b, uint64(x.Upto)), start)
}

// ParseFetch reads the body of a Fetch. After is not above Upto.
func ParseFetch(body []byte) (x Fetch, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Room, x.Epoch, x.After, x.Upto = f.room(), f.epoch(), Offset(f.u64()), Offset(f.u64())
	if err := f.end(); err != nil {
		return x, err
	}
	if x.After > x.Upto {
		return x, ErrValue
	}
	return x, nil
}

// Fetched answers a Fetch with one or more frames; the last says so. The first
// message has offset After + 1; After is above what was asked when history does
// not reach.
type Fetched struct {
	Partition Partition
	Term      Term
	Room      []byte
	Epoch     Epoch
	After     Offset
	Last      bool
	Messages  Messages
}

// BeginFetched starts a Fetched; AppendMessage adds to it, End closes it.
func BeginFetched[T string | []byte](b []byte, p Partition, t Term, room T, e Epoch, after Offset, last bool) (frame []byte, start int) {
	b, start = Begin(b, FrameFetched)
	b = append(appendRoom(appendHead(b, p, t), room), e[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(after))
	if last {
		return append(b, 1), start
	}
	return append(b, 0), start
}

// SetFetchedLast marks a Fetched that was begun at start with a room name of n
// bytes as the last one: whether it is shows only once it is filled.
func SetFetchedLast(b []byte, start, n int) {
	b[start+HeaderSize+2+8+1+n+epochSize+8] = 1
}

// ParseFetched reads the body of a Fetched; the messages are read with Next.
func ParseFetched(body []byte) (x Fetched, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Room, x.Epoch, x.After = f.room(), f.epoch(), Offset(f.u64())
	last := f.u8()
	x.Last = last == 1
	x.Messages.f = f
	if err := f.err(); err != nil {
		return x, err
	}
	if last > 1 {
		return x, ErrValue
	}
	return x, nil
}
