package room

import (
	"time"

	"github.com/roomring/roomring/internal/spare"
	"github.com/roomring/roomring/proto"
)

// Config says what logs keep. The zero value has the defaults.
type Config struct {
	// HistoryMessages, HistoryBytes (of payload) and HistoryAge: a message is
	// history while it satisfies all three. If zero, 1000, 1 MiB, 5 minutes.
	HistoryMessages int
	HistoryBytes    int
	HistoryAge      time.Duration
	// WindowAge: younger messages are kept beyond history, as long as the log
	// takes no more than WindowBytes, bookkeeping included. If zero, 10 seconds
	// and 8 MiB; negative means no window.
	WindowAge   time.Duration
	WindowBytes int
	// WindowTotal bounds what all logs together keep beyond history, in bytes:
	// over it, a log that grows gives up its own window. If zero, a quarter of
	// Total.
	WindowTotal int64
	// Total bounds the memory of all logs, in bytes: over it, the oldest chunk
	// of all goes first. If zero, 256 MiB; at least 1 MiB.
	Total int64
}

func (c Config) withDefaults() Config {
	c.HistoryMessages = orDefault(c.HistoryMessages, 1000)
	c.HistoryBytes = orDefault(c.HistoryBytes, 1<<20)
	c.HistoryAge = orDefault(c.HistoryAge, 5*time.Minute)
	c.WindowAge = orDefault(c.WindowAge, 10*time.Second)
	c.WindowBytes = orDefault(c.WindowBytes, 8<<20)
	c.Total = max(orDefault(c.Total, 256<<20), 1<<20)
	c.WindowTotal = orDefault(c.WindowTotal, c.Total/4)
	return c
}

func orDefault[T int | int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Store is the memory of all logs of one lane. A log belongs to the store that
// first appended to it.
type Store struct {
	cfg Config

	oldest, newest *chunk // all chunks in use, by creation
	bytes          int64  // of the chunks in use, bookkeeping included
	window         int64  // of what logs keep beyond history

	free      [classes]spare.List[*chunk]
	freeBytes int64 // at most an eighth of Total
	takes     uint64
	taken     [classes]uint64 // takes when the last of that size was taken
	shed      uint64
}

// NewStore makes an empty store.
func NewStore(cfg Config) *Store { return &Store{cfg: cfg.withDefaults()} }

// Bytes is the memory that logs use now.
func (s *Store) Bytes() int64 { return s.bytes }

// Shed counts the chunks that went because of Total, not of their age.
func (s *Store) Shed() uint64 { return s.shed }

// take returns a chunk for size bytes at least, from the free list if it can.
// Before that it makes room, which may drop chunks of any log.
func (s *Store) take(size int) *chunk {
	class := classFor(size)
	if class != oversize {
		size = sizes[class]
	}
	cost := int64(size) + chunkHead
	s.takes++
	if class != oversize {
		s.taken[class] = s.takes
	}
	for s.bytes+cost > s.cfg.Total && s.shedOldest() {
	}
	if class != oversize {
		if c, ok := s.free[class].Take(); ok {
			s.freeBytes -= cost
			s.enlist(c, cost)
			return c
		}
	}
	if s.bytes+s.freeBytes+cost > s.cfg.Total {
		s.free, s.freeBytes = [classes]spare.List[*chunk]{}, 0 // what is free is of no use here
	}
	c := &chunk{buf: make([]byte, size), class: class}
	s.enlist(c, cost)
	return c
}

func (s *Store) enlist(c *chunk, cost int64) {
	s.bytes += cost
	c.older = s.newest
	if s.newest != nil {
		s.newest.newer = c
	} else {
		s.oldest = c
	}
	s.newest = c
}

// give takes a chunk back that no log has any more.
func (s *Store) give(c *chunk) {
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		s.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		s.newest = c.older
	}
	cost := int64(len(c.buf)) + chunkHead
	s.bytes -= cost
	if c.class == oversize {
		return
	}
	*c = chunk{buf: c.buf, class: c.class}
	s.free[c.class].Put(c)
	s.freeBytes += cost
	for s.freeBytes > s.cfg.Total/8 {
		c, _ := s.free[s.stalest()].Take()
		s.forget(c)
	}
}

// forget leaves a chunk that was free to the garbage collector.
func (s *Store) forget(c *chunk) { s.freeBytes -= int64(len(c.buf)) + chunkHead }

// Tidy lets go of chunks that nobody needed for a while. Call it every spare.While
// or so.
func (s *Store) Tidy() {
	forget := s.forget
	for k := range s.free {
		s.free[k].Tidy(forget)
	}
}

// stalest is the size of free chunks that was not asked for the longest: else
// sizes that nobody takes any more fill the list.
func (s *Store) stalest() int32 {
	class := int32(oversize)
	for k := range int32(classes) {
		if s.free[k].Len() > 0 && (class == oversize || s.taken[k] < s.taken[class]) {
			class = k
		}
	}
	return class
}

// shedOldest drops the oldest chunk of all. It reports false when there is none.
func (s *Store) shedOldest() bool {
	c := s.oldest
	if c == nil {
		return false
	}
	s.dropTo(c.log, c.last()+1)
	s.shed++
	return true
}

// Release gives the memory of a log back. The log is empty then and goes on
// behind its head.
func (s *Store) Release(l *Log) { s.dropTo(l, l.head+1) }

// Start empties a log, which has its epoch still and goes on behind after: a
// copy of a log that keeps nothing below that.
func (s *Store) Start(l *Log, after proto.Offset) {
	s.Release(l)
	l.head = after
}

// dropTo drops all kept messages of l below first.
func (s *Store) dropTo(l *Log, first proto.Offset) {
	for l.kept != nil && l.kept.first < first {
		s.dropFirst(l)
	}
}
