package room

import (
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/roomring/roomring/proto"
)

const (
	// slotSize is place(2) time(6) publisher(4).
	slotSize = 12
	// A log whose messages take no more than this has one chunk, which changes
	// its size with them. It must be one of sizes.
	wholeChunk = 4 << 10
	maxChunk   = 64 << 10
	// oversize is the class of a chunk that fits one message.
	oversize = -1
	// chunkHead is what a chunk costs beyond its bytes.
	chunkHead = int64(unsafe.Sizeof(chunk{}))
	// messageCost is what a kept message costs beyond its payload.
	messageCost = slotSize + messageHead
	// messageHead is what proto.AppendMessage puts before a payload, with the
	// conn at its second byte.
	messageHead = 13
	// maxSpan is how far apart in time the messages of a chunk may be: three days.
	maxSpan = 1 << 48
)

// sizes are what chunks have, in bytes, but those for one message that does not fit
// the largest. They are sizes that Go's allocator has too, so nothing is lost between;
// small ones are close to each other, because most rooms are small and stay so.
var sizes = [...]int{
	64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048,
	3072, wholeChunk, 8 << 10, 16 << 10, 32 << 10, maxChunk,
}

// classes is how many there are; a class is a place in sizes.
const classes = len(sizes)

// chunk is a slotted page: messages, written as in a Deliver frame, grow from
// the front, one slot per message grows from the back. So a run of messages is
// sent by one copy, and a message is found by its offset without a search.
//
// Invariant: the message at offset o is number o - first of the chunk. The conns
// within the messages are for their publishers alone.
type chunk struct {
	buf   []byte
	first proto.Offset
	since time.Duration // times in slots count from here
	log   *Log
	used  int32 // bytes of messages
	count int32
	class int32

	prev, next   *chunk // in its log: older, newer
	older, newer *chunk // among all chunks of the store, by creation
}

// classFor is the smallest class of at least size bytes.
func classFor(size int) int32 {
	for k, have := range sizes {
		if have >= size {
			return int32(k)
		}
	}
	return oversize
}

func (c *chunk) last() proto.Offset { return c.first + proto.Offset(c.count) - 1 }

// fits reports whether a message of the given time, which needs so many bytes with
// its slot, can be pushed.
func (c *chunk) fits(need int, at time.Duration) bool {
	return len(c.buf)-int(c.used)-int(c.count)*slotSize >= need && c.spans(at)
}

func (c *chunk) spans(at time.Duration) bool { return uint64(at-c.since) < maxSpan }

// slot is message i's: its place, the time above it, and its publisher.
func (c *chunk) slot(i int) []byte {
	at := len(c.buf) - (i+1)*slotSize
	return c.buf[at : at+slotSize : at+slotSize]
}

func (c *chunk) place(i int) int { return int(binary.LittleEndian.Uint16(c.slot(i))) }

func (c *chunk) at(i int) time.Duration {
	return c.since + time.Duration(binary.LittleEndian.Uint64(c.slot(i))>>16)
}

func (c *chunk) publisher(i int) uint32 { return binary.LittleEndian.Uint32(c.slot(i)[8:]) }

// end is where message i ends.
func (c *chunk) end(i int) int {
	if i+1 < int(c.count) {
		return c.place(i + 1)
	}
	return int(c.used)
}

func (c *chunk) payloadSize(i int) int { return c.end(i) - c.place(i) - messageHead }

// size is what the messages from number i on take.
func (c *chunk) size(i int) int {
	return int(c.used) - c.place(i) + (int(c.count)-i)*slotSize
}

// push appends a message that fits.
func (c *chunk) push(m *Message) {
	if c.count == 0 {
		c.since = m.At
	}
	s := c.slot(int(c.count))
	binary.LittleEndian.PutUint64(s, uint64(c.used)|uint64(m.At-c.since)<<16)
	binary.LittleEndian.PutUint32(s[8:], m.Publisher)
	b := proto.AppendMessage(c.buf[:c.used], m.Kind, m.Conn, m.Payload)
	c.used = int32(len(b))
	c.count++
}

// take makes the messages of o from number i on those of c, which has space for
// them. c may be o.
func (c *chunk) take(o *chunk, i int) {
	from := o.place(i)
	first, count := o.first+proto.Offset(i), int(o.count)-i
	used := copy(c.buf, o.buf[from:o.used])
	for k := range count { // upwards: within one chunk, each goes where one was that has gone
		s := o.slot(i + k)
		word, publisher := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint32(s[8:])
		s = c.slot(k)
		binary.LittleEndian.PutUint64(s, word-uint64(from))
		binary.LittleEndian.PutUint32(s[8:], publisher)
	}
	c.first, c.since, c.used, c.count = first, o.since, int32(used), int32(count)
}

// message reads message i; its payload aliases the chunk.
func (c *chunk) message(i int, m *Message) {
	b := c.buf[c.place(i):c.end(i):c.end(i)]
	*m = Message{
		Kind:      proto.Kind(b[0]),
		Publisher: c.publisher(i),
		Conn:      binary.BigEndian.Uint64(b[1:]),
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
		if c.publisher(k) != publisher {
			binary.BigEndian.PutUint64(b[shift+c.place(k)+1:], 0)
		}
	}
	return b, j + 1
}
