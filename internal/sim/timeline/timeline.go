// Package timeline is what every simulation is made of: a clock that moves from
// event to event, dice that one seed throws, a transcript by which two runs are
// compared, and a way out for the first broken promise. It knows nothing of what
// is simulated.
package timeline

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Timeline is the time of one run. What happens is the same for the same seed.
type Timeline struct {
	Rand   *rand.Rand
	Now    time.Duration // since the run began
	Events int           // that happened

	queue      queue
	order      uint64 // of the next event
	hash       *xxhash.Digest
	transcript io.Writer
	line       []byte
}

// violation is a broken promise on its way out of a run.
type violation struct{ error }

// began is the time of the cores' clocks when a run begins.
var began = time.Unix(1_700_000_000, 0)

// New returns a timeline at its beginning. Runs of other kinds use other salts,
// so that their seeds have nothing in common. The transcript may be nil.
func New(seed, salt uint64, transcript io.Writer) *Timeline {
	return &Timeline{Rand: rand.New(rand.NewPCG(seed, salt)), hash: xxhash.New(), transcript: transcript}
}

// Play does something to its end, or to the first broken promise, which it
// returns. A panic is one.
func (t *Timeline) Play(f func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
			return
		case violation:
			err = v.error
		default:
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
		t.Trace("violation: %v", err)
	}()
	f()
	return nil
}

// After has f happen later.
func (t *Timeline) After(d time.Duration, f func()) {
	heap.Push(&t.queue, event{at: t.Now + max(d, 0), order: t.order, do: f})
	t.order++
}

// Run lets time pass up to a moment.
func (t *Timeline) Run(until time.Duration) {
	for len(t.queue) > 0 && t.queue[0].at <= until {
		e := heap.Pop(&t.queue).(event)
		t.Now = e.at
		t.Events++
		e.do()
	}
	t.Now = until
}

// Time is now as the cores take it.
func (t *Timeline) Time() time.Time { return began.Add(t.Now) }

// Trace writes a line of the transcript.
func (t *Timeline) Trace(format string, args ...any) {
	t.line = fmt.Appendf(t.line[:0], "%11.6f ", t.Now.Seconds())
	t.line = append(fmt.Appendf(t.line, format, args...), '\n')
	t.hash.Write(t.line)
	if t.transcript != nil {
		t.transcript.Write(t.line)
	}
}

// IsRead reports whether somebody reads the transcript along.
func (t *Timeline) IsRead() bool { return t.transcript != nil }

// Mix is a line of the transcript that nobody reads: what tells two runs apart,
// without the work of putting it into words.
func (t *Timeline) Mix(what []byte) {
	t.line = binary.BigEndian.AppendUint64(t.line[:0], uint64(t.Now))
	t.hash.Write(t.line)
	t.hash.Write(what)
}

// Hash is that of the transcript so far.
func (t *Timeline) Hash() uint64 { return t.hash.Sum64() }

// Fail ends the run: a promise is broken.
func (t *Timeline) Fail(format string, args ...any) {
	panic(violation{fmt.Errorf(format, args...)})
}

// Chance is true with probability p.
func (t *Timeline) Chance(p float64) bool { return t.Rand.Float64() < p }

// Between draws a duration, short ones as likely as long ones: it is even in
// the logarithm.
func (t *Timeline) Between(from, to time.Duration) time.Duration {
	d := from
	for d < to && t.Rand.IntN(4) > 0 {
		d *= 2
	}
	d = min(d, to)
	return from + time.Duration(t.Rand.Int64N(int64(d-from)+1))
}

// Read fills b with random bytes: a timeline is where cores draw them from.
func (t *Timeline) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(t.Rand.Uint32())
	}
	return len(b), nil
}

// One draws an element, or the zero value of none.
func One[T any](t *Timeline, list []T) (x T) {
	if len(list) > 0 {
		x = list[t.Rand.IntN(len(list))]
	}
	return x
}

// event is something that will happen.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

// queue is a heap by time, then by the order in which events were made.
type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}
