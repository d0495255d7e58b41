package room

import (
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/roomring/roomring/proto"
)

const (
	// slotSize is place(4) publisher(4) conn(8) at(8).
	slotSize = 24
	// Chunks have 512 bytes to 64 KiB, in powers of two; only a message that
	// does not fit the largest has a chunk of its own size.
	minChunk = 512
	maxChunk = 64 << 10
	classes  = 8
	// oversize is the class of a chunk that fits one message.
	oversize = -1
	// chunkHead is what a chunk costs beyond its bytes.
	chunkHead = int64(unsafe.Sizeof(chunk{}))
	// messageCost is what a kept message costs beyond its payload.
	messageCost = slotSize + messageHead
	// messageHead is what proto.AppendMessage puts before a payload, with the
	// conn at its second byte.
	messageHead = 13
)

// chunk is a slotted page: messages, written as in a Deliver frame, grow from
// the front, one slot per message grows from the back. So a run of messages is
// sent by one copy, and a message is found by its offset without a search.
//
// Invariant: the message at offset o is number o - first of the chunk, and the
// conns within the messages are zero; the slots have them.
type chunk struct {
	buf   []byte
	first proto.Offset
	used  int32 // bytes of messages
	count int32
	class int32
	log   *Log

	prev, next   *chunk // in its log: older, newer
	older, newer *chunk // among all chunks of the store, by creation
}

// classFor is the smallest class of at least size bytes.
func classFor(size int) int32 {
	for k := range int32(classes) {
		if minChunk<<k >= size {
			return k
		}
	}
	return oversize
}

func (c *chunk) last() proto.Offset { return c.first + proto.Offset(c.count) - 1 }

func (c *chunk) fits(need int) bool {
	return len(c.buf)-int(c.used)-int(c.count)*slotSize >= need
}

func (c *chunk) slot(i int) []byte {
	at := len(c.buf) - (i+1)*slotSize
	return c.buf[at : at+slotSize : at+slotSize]
}

func (c *chunk) place(i int) int { return int(binary.LittleEndian.Uint32(c.slot(i))) }

// end is where message i ends.
func (c *chunk) end(i int) int {
	if i+1 < int(c.count) {
		return c.place(i + 1)
	}
	return int(c.used)
}

func (c *chunk) payloadSize(i int) int { return c.end(i) - c.place(i) - messageHead }

func (c *chunk) at(i int) time.Duration {
	return time.Duration(binary.LittleEndian.Uint64(c.slot(i)[16:]))
}

// push appends a message that fits.
func (c *chunk) push(m *Message) {
	s := c.slot(int(c.count))
	binary.LittleEndian.PutUint32(s, uint32(c.used))
	binary.LittleEndian.PutUint32(s[4:], m.Publisher)
	binary.LittleEndian.PutUint64(s[8:], m.Conn)
	binary.LittleEndian.PutUint64(s[16:], uint64(m.At))
	b := proto.AppendMessage(c.buf[:c.used], m.Kind, 0, m.Payload)
	c.used = int32(len(b))
	c.count++
}

// message reads message i; its payload aliases the chunk.
func (c *chunk) message(i int, m *Message) {
	s := c.slot(i)
	b := c.buf[c.place(i):c.end(i):c.end(i)]
	*m = Message{
		Kind:      proto.Kind(b[0]),
		Publisher: binary.LittleEndian.Uint32(s[4:]),
		Conn:      binary.LittleEndian.Uint64(s[8:]),
		At:        c.at(i),
		Payload:   b[messageHead:],
	}
}

// read appends messages i to j at most, as long as they take no more than
// limit bytes, and returns the number of the first that it left out.
func (c *chunk) read(b []byte, i, j, limit int, publisher uint32) ([]byte, int) {
	from := c.place(i)
	if c.end(j)-from > limit {
		j = i
		for c.end(j)-from <= limit {
			j++
		}
		j--
	}
	if j < i {
		return b, i
	}
	shift := len(b) - from
	b = append(b, c.buf[from:c.end(j)]...)
	for k := i; k <= j; k++ {
		s := c.slot(k)
		if binary.LittleEndian.Uint32(s[4:]) == publisher {
			at := shift + int(binary.LittleEndian.Uint32(s))
			binary.BigEndian.PutUint64(b[at+1:], binary.LittleEndian.Uint64(s[8:]))
		}
	}
	return b, j + 1
}
