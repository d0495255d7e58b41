package verify

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// kind is a kind of fault, or of what is announced.
type kind uint8

const (
	lost kind = iota
	doubled
	reordered
	invented
	altered
	conflict
	disagree
	malformed
	gap
	reset
	closed
	unplaced
	taken
	kinds
)

var kindNames = [kinds]string{"lost", "doubled", "reordered", "invented", "altered", "conflict", "disagree", "malformed",
	"gap", "reset", "closed", "unplaced", "taken"}

func (k kind) String() string { return kindNames[k] }

// breaks tells whether a kind breaks a promise whatever is allowed.
func (k kind) breaks() bool { return k < gap }

// maxExamples bounds the examples of each kind.
const maxExamples = 10

// edge is how long before an event a message may be due, and still be under way when it begins, to
// belong to the event: what the event did to it is not the fault of the quiet time before.
const edge = 50 * time.Millisecond

// tally counts what happened, by period. Any goroutine may call it.
type tally struct {
	begins atomic.Pointer[[]int64] // of the periods; replaced, never changed
	faults atomic.Uint64           // that break a promise

	mu       sync.Mutex // guards what is below
	periods  []*period
	examples [kinds][]fault
	closes   map[ending]uint64
}

// period is the time from one event to the next.
type period struct {
	name    string
	counts  [kinds]uint64
	resumed [anew + 1]uint64
	back    []int64
	command *outcome // nil when no command began it
}

// ending is how a socket ended.
type ending struct {
	code   int
	reason string
}

// maxEndings bounds the kinds of endings.
const maxEndings = 64

func newTally() *tally {
	t := &tally{closes: map[ending]uint64{}}
	t.begin("before", 0)
	return t
}

// begin begins a period. It returns nil when there are too many; the last one goes on.
func (t *tally) begin(name string, at int64) *period {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.periods) > maxEvents {
		return nil
	}
	p := &period{name: name}
	t.periods = append(t.periods, p)
	var begins []int64
	if old := t.begins.Load(); old != nil {
		begins = slices.Clone(*old)
		at = max(at, begins[len(begins)-1])
	}
	begins = append(begins, at)
	t.begins.Store(&begins)
	return p
}

// periodOf returns the period of something at a time.
func periodOf(begins []int64, at int64) int {
	n := len(begins) - 1
	for n > 0 && begins[n] > at {
		n--
	}
	return n
}

// periodSent returns the period of a message that was due at a time and came at another.
func periodSent(begins []int64, sent, came int64) int {
	n := periodOf(begins, sent)
	for n+1 < len(begins) && begins[n+1]-sent <= int64(edge) && came >= begins[n+1] {
		n++
	}
	return n
}

// note counts a fault.
func (t *tally) note(f fault) {
	if f.count == 0 {
		f.count = 1
	}
	if f.kind.breaks() {
		t.faults.Add(f.count)
	}
	begins := *t.begins.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := periodOf(begins, f.at)
	if f.sent {
		n = periodSent(begins, f.at, 1<<63-1)
	}
	t.periods[n].counts[f.kind] += f.count
	if len(t.examples[f.kind]) < maxExamples {
		t.examples[f.kind] = append(t.examples[f.kind], f)
	}
}

// closed counts a socket that ended.
func (t *tally) closed(e ending, at int64) {
	t.note(fault{kind: closed, member: -1, at: at})
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.closes[e]; !ok && len(t.closes) >= maxEndings {
		e = ending{e.code, "other reasons"}
	}
	t.closes[e]++
}

// maxBack bounds the ways back that are kept for their percentiles, per period.
const maxBack = 1 << 16

// back counts a member that has its room again, whose socket had ended at a time.
func (t *tally) back(ended, now int64, how told) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.periods[periodOf(*t.begins.Load(), ended)]
	p.resumed[how]++
	if len(p.back) < maxBack {
		p.back = append(p.back, now-ended)
	}
}

// ended says what became of the command that began a period.
func (t *tally) ended(p *period, o *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.command = o
}
