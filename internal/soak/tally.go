package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// tally counts what the conns did and saw.
type tally struct {
	tell io.Writer     // where faults are told at once: a run may end before its report
	when func() string // says at what time of the run it is

	opened, unopened   atomic.Uint64
	messages, resumed  atomic.Uint64
	born               atomic.Uint64
	slow, gaps         atomic.Uint64
	posts, posted      atomic.Uint64 // asked for, and acknowledged
	repeated           atomic.Uint64
	faults, lates      atomic.Uint64
	mu                 sync.Mutex
	first              []string // of the faults
	failure, postError string   // the first conn that did not open, the first post that was refused
	lateness           string   // the first of what may be our own fault
}

// maxFaults bounds the faults that are told one by one.
const maxFaults = 20

// counts is what a tally came to.
type counts struct {
	Opened    uint64   `json:"opened"`
	Unopened  uint64   `json:"unopened"`
	Messages  uint64   `json:"messages"` // that numbered conns heard and checked
	Resumed   uint64   `json:"resumed"`  // with since, whole
	Born      uint64   `json:"born"`     // rooms that nobody had used before
	Slow      uint64   `json:"slow"`     // readers closed with 4008
	Gaps      uint64   `json:"gaps"`     // told to readers that were slow
	Posts     uint64   `json:"posts"`
	Refused   uint64   `json:"refused"` // posts
	Repeated  uint64   `json:"repeated"`
	Faults    uint64   `json:"faults"`
	Late      uint64   `json:"late"` // conns that ended when this process had no time
	First     []string `json:"first_faults"`
	FirstLate string   `json:"first_late"`
	FirstFail string   `json:"first_unopened"`
	FirstPost string   `json:"first_refused"`
}

// fault notes something that the server may not do, and tells the first of them.
func (t *tally) fault(format string, args ...any) {
	text := t.when() + ": " + fmt.Sprintf(format, args...)
	t.faults.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.first) < maxFaults {
		t.first = append(t.first, text)
		fmt.Fprintln(t.tell, "FAULT", text)
	}
}

// late notes what may be our own fault: this process had no time.
func (t *tally) late(format string, args ...any) {
	text := t.when() + ": " + fmt.Sprintf(format, args...)
	t.lates.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lateness == "" {
		t.lateness = text
		fmt.Fprintln(t.tell, "LATE", text)
	}
}

func (t *tally) noOpen(err error) {
	t.unopened.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == "" {
		t.failure = err.Error()
	}
}

func (t *tally) noPost(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.postError == "" {
		t.postError = err.Error()
	}
}

func (t *tally) end() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return counts{
		Opened: t.opened.Load(), Unopened: t.unopened.Load(), Messages: t.messages.Load(), Resumed: t.resumed.Load(), Born: t.born.Load(),
		Slow: t.slow.Load(), Gaps: t.gaps.Load(), Posts: t.posts.Load(), Refused: t.posts.Load() - t.posted.Load(), Repeated: t.repeated.Load(),
		Faults: t.faults.Load(), Late: t.lates.Load(), FirstLate: t.lateness, First: append([]string{}, t.first...), FirstFail: t.failure, FirstPost: t.postError,
	}
}

// whole reports whether nothing was wrong: of conns and posts, one in 200 may fail on a machine that
// has too much to do.
func (c *counts) whole() bool {
	return c.Faults == 0 && c.Messages > 0 && c.Unopened <= c.Opened/200 && c.Refused <= c.Posts/200
}
