package room

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// Message is one message on its way into a log.
type Message struct {
	Kind      proto.Kind // text or binary
	Publisher uint32     // who published it, in the caller's own numbering
	Conn      uint64     // the publishing conn there; told to that publisher alone
	At        time.Duration
	Payload   []byte
}

// Log is the log of one room: what is in it is committed. It takes 32 bytes
// while nothing is kept. It must not be copied or moved after the first Append.
//
// Invariant: offsets are gapless: the next message gets Head + 1, and what is
// kept are the messages First to Head, all of them.
type Log struct {
	epoch proto.Epoch
	head  proto.Offset
	kept  *kept // nil while nothing is
}

// kept is what is kept of a log.
type kept struct {
	first   proto.Offset // lowest kept
	history proto.Offset // lowest that is history: what is below is live window

	bytes        int64 // payloads from first on
	historyBytes int64 // payloads from history on

	oldest, newest *chunk
	historyChunk   *chunk        // has history; nil when history is head + 1
	historyAt      time.Duration // of that message: each Append asks for it, and its chunk is old and cold
}

// Init begins a log: it has the given epoch and no messages.
func (l *Log) Init(e proto.Epoch) { *l = Log{epoch: e} }

// Epoch is this life of the room.
func (l *Log) Epoch() proto.Epoch { return l.epoch }

// Head is the offset of the last message; 0 before the first.
func (l *Log) Head() proto.Offset { return l.head }

// First is the lowest kept offset, Head + 1 when nothing is kept.
func (l *Log) First() proto.Offset {
	if l.kept == nil {
		return l.head + 1
	}
	return l.kept.first
}

// Kept is the number of messages kept.
func (l *Log) Kept() int { return int(l.head + 1 - l.First()) }

// Bytes is the size of the payloads kept.
func (l *Log) Bytes() int64 {
	if l.kept == nil {
		return 0
	}
	return l.kept.bytes
}

// Append puts a message at the end of l, where it can be read, and returns its
// offset. Messages must come in the order of their times. Nothing is dropped for
// its age or for the bounds of l: that is what Trim is for, at a time that all
// copies agree on. But to stay within the store's total, the oldest chunk of any
// log may go.
func (s *Store) Append(l *Log, m *Message) proto.Offset {
	need := proto.MessageSize(len(m.Payload)) + slotSize
	if l.kept == nil || !l.kept.newest.fits(need, m.At) {
		s.grow(l, need, m.At)
	}
	k := l.kept
	l.head++
	if k.historyChunk == nil {
		k.historyChunk, k.historyAt = k.newest, m.At
	}
	k.newest.push(m)
	k.bytes += int64(len(m.Payload))
	k.historyBytes += int64(len(m.Payload))
	return l.head
}

// grow makes space at the end of l for a message of the given time.
func (s *Store) grow(l *Log, need int, at time.Duration) {
	if size := l.wholeSize(need); size != 0 && l.kept.newest.spans(at) {
		s.widen(l, size)
		return
	}
	s.extend(l, s.take(max(need, l.chunkSize())))
}

// extend puts a chunk at the end of l.
func (s *Store) extend(l *Log, c *chunk) {
	if l.kept == nil { // only now: making room may have emptied l
		l.kept = &kept{first: l.head + 1, history: l.head + 1}
	}
	k := l.kept
	c.log, c.first, c.prev = l, l.head+1, k.newest
	if k.newest != nil {
		k.newest.next = c
	} else {
		k.oldest = c
	}
	k.newest = c
}

// wholeSize is what the one chunk of a small log must have to take need bytes more,
// without what is not kept any more; 0 if l is not small or has no chunk. When its
// size stays, an eighth becomes free at least: else a steady log would move all its
// messages for each new one.
func (l *Log) wholeSize(need int) int {
	k := l.kept
	if k == nil || k.oldest != k.newest {
		return 0
	}
	c := k.newest
	size := c.size(int(k.first-c.first)) + need
	if class := classFor(size); class != oversize && sizes[class] <= len(c.buf) {
		size += size / 8
	}
	if size > wholeChunk {
		return 0
	}
	return size
}

// widen gives a small log a chunk of so many bytes in place of its own: a chunk
// behind the first would cost it more than the copy does.
func (s *Store) widen(l *Log, size int) {
	k, c := l.kept, l.kept.newest
	n := c
	if classFor(size) != c.class {
		n = s.take(size)
	}
	if l.kept == nil { // making room has emptied l
		s.extend(l, n)
		return
	}
	n.take(c, int(k.first-c.first))
	if n == c {
		return
	}
	n.log = l
	k.oldest, k.newest = n, n
	if k.historyChunk != nil {
		k.historyChunk = n
	}
	s.give(c)
}

// chunkSize is what the next chunk of l should have. Chunks grow with the log, so
// that a busy room has few: between a sixth and a half of what it has, so little
// is not used yet. Within that the size stays, so that what a steady log gives
// back is what it takes.
func (l *Log) chunkSize() int {
	if l.kept == nil {
		return 0
	}
	size, all := int64(len(l.kept.newest.buf)), l.kept.bytes+messageCost*int64(l.Kept())
	if size > all/2 || size < all/6 {
		size = all / 3
	}
	return int(min(size, maxChunk))
}

// Trim drops what need not be kept any more at log time now. What is kept then
// follows from now and the messages alone, not from what was trimmed before, so
// it is the same in every copy; but for what goes for lack of memory (Total,
// WindowTotal), which is each store's own.
func (s *Store) Trim(l *Log, now time.Duration) {
	for l.kept != nil && l.kept.historyChunk != nil && s.pastHistory(l, now) {
		s.passHistory(l)
	}
	for l.kept != nil && l.kept.first < l.kept.history && (s.pastWindow(l, now) || s.window > s.cfg.WindowTotal) {
		s.dropFirst(l)
	}
}

// Due reports whether Trim would drop something at log time now, leaving aside
// what it would drop for lack of memory.
func (s *Store) Due(l *Log, now time.Duration) bool {
	return l.kept != nil && (l.Windowed() || s.pastHistory(l, now)) && s.pastWindow(l, now)
}

// pastHistory says of the oldest message of the history that it is none.
func (s *Store) pastHistory(l *Log, now time.Duration) bool {
	k := l.kept
	return l.head+1-k.history > proto.Offset(s.cfg.HistoryMessages) ||
		k.historyBytes > int64(s.cfg.HistoryBytes) ||
		now-k.historyAt >= s.cfg.HistoryAge
}

// pastWindow says of the oldest message kept that the live window does not keep
// it.
func (s *Store) pastWindow(l *Log, now time.Duration) bool {
	k := l.kept
	return now-k.oldest.at(int(k.first-k.oldest.first)) >= s.cfg.WindowAge ||
		k.bytes+messageCost*int64(l.Kept()) > int64(s.cfg.WindowBytes)
}

// passHistory moves the oldest message of the history to the live window.
func (s *Store) passHistory(l *Log) {
	k := l.kept
	c := k.historyChunk
	size := int64(c.payloadSize(int(k.history - c.first)))
	k.historyBytes -= size
	s.window += size + messageCost
	if k.history == c.last() {
		k.historyChunk = c.next
	}
	k.history++
	if h := k.historyChunk; h != nil {
		k.historyAt = h.at(int(k.history - h.first))
	}
}

// dropFirst drops the oldest message that is kept.
func (s *Store) dropFirst(l *Log) {
	k := l.kept
	if k.history == k.first {
		s.passHistory(l)
	}
	c := k.oldest
	size := int64(c.payloadSize(int(k.first - c.first)))
	k.bytes -= size
	s.window -= size + messageCost
	done := k.first == c.last()
	k.first++
	if !done {
		return
	}
	k.oldest = c.next
	if c.next != nil {
		c.next.prev = nil
	} else {
		l.kept = nil
	}
	s.give(c)
}

// Windowed reports whether messages beyond history are kept: they go sooner.
func (l *Log) Windowed() bool { return l.kept != nil && l.kept.first < l.kept.history }

// NextTrim is the log time at which Trim will have something to do because of
// age alone; false when nothing is kept.
func (s *Store) NextTrim(l *Log) (time.Duration, bool) {
	k := l.kept
	if k == nil {
		return 0, false
	}
	at := k.oldest.at(int(k.first - k.oldest.first))
	if k.first < k.history {
		return at + s.cfg.WindowAge, true
	}
	return at + max(s.cfg.HistoryAge, s.cfg.WindowAge), true
}
