package council

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// Options is what Run is asked for.
type Options struct {
	// Seed decides everything else.
	Seed uint64

	// Keeper and Register switch a rule off, to see that it is noticed.
	Keeper   cluster.Break
	Register Break

	// Transcript gets a line per event. If nil, nobody reads along.
	Transcript io.Writer
}

// Break is a rule of the register that is switched off.
type Break uint8

// The rules.
const (
	BreakTerm   Break = 1 << iota // a command counts as decided in the term that appends it (R10)
	BreakMemory                   // who lost its log votes under its former name (R7)
)

// Report is how a run went.
type Report struct {
	Seed      uint64
	Hash      uint64        // of the transcript
	Events    int           // that happened
	Virtual   time.Duration // that passed in the simulation
	Settling  time.Duration // from the last fault until all had one Table and its owners lived
	Faults    [faultKinds]int
	Frames    [256]int // about the Table that arrived, by type
	Orders    [16]int  // of the register, by kind
	Tables    int      // that were committed
	Leaders   int      // terms that somebody led
	Foundings int      // recoveries among them
	Torn      bool     // two clusters were founded by nodes that could not see each other
	Violation error    // nil: every promise was kept; else the first that was broken
}

// violation is a broken promise on its way out of a run.
type violation struct{ error }

// World is one run.
type World struct {
	opt   Options
	rnd   *rand.Rand
	shape shape

	now    time.Duration // since the run began
	events queue
	order  uint64        // of the next event
	calm   bool          // faults are over
	end    time.Duration // of the trouble

	recovered time.Duration // when an operator last asked for it

	hash   hash.Hash64
	line   []byte
	report Report

	hosts     []*host
	processes []*process // living and dead, in the order of their starts
	byName    map[proto.NodeName]*process
	links     []*link // that are open at one end at least
	linkCount int
	ledger    *ledger
}

// began is the time of the cores' clocks when a run begins.
var began = time.Unix(1_700_000_000, 0)

// Run plays one seed to its end, or to the first broken promise.
func Run(o Options) (r Report) {
	w := &World{opt: o, rnd: rand.New(rand.NewPCG(o.Seed, 0x636f756e63696c)), hash: fnv.New64a(), byName: make(map[proto.NodeName]*process)}
	w.ledger = newLedger(w)
	defer func() {
		if v := recover(); v != nil {
			err, ok := v.(violation)
			if !ok {
				err = violation{fmt.Errorf("panic: %v\n%s", v, debug.Stack())}
			}
			w.trace("violation: %v", err.error)
			w.report.Violation = err.error
		}
		w.report.Seed, w.report.Hash, w.report.Virtual = o.Seed, w.hash.Sum64(), w.now
		r = w.report
	}()
	w.play()
	return
}

// The lengths of a run's phases.
const (
	foundingTime = 15 * time.Second // without faults a cluster must stand by then
	settlingTime = 25 * time.Second // behind the last fault all must be well by then
	resting      = 3 * time.Second  // and stay so
)

// play is the course of every run: a founding, faults, then peace.
func (w *World) play() {
	w.shape = drawShape(w)
	w.trace("seed %d: %+v", w.opt.Seed, w.shape)
	w.build()
	if !w.shape.badFounding {
		w.settle(foundingTime)
	}
	w.end = w.now + w.shape.trouble
	w.plague()
	w.run(w.end)
	w.heal()
	since := w.now
	w.settle(settlingTime)
	w.report.Settling = w.now - since
	if w.report.Torn {
		return
	}
	w.run(w.now + resting)
	if why := w.unsettled(); why != "" {
		w.fail("it did not stay settled: %s", why)
	}
}

// settle lets time pass until all is well; that must be within a time.
func (w *World) settle(within time.Duration) {
	for end := w.now + within; ; {
		w.run(w.now + 250*time.Millisecond)
		why := w.unsettled()
		switch {
		case why == "" || w.report.Torn:
			w.trace("settled")
			return
		case w.now >= end:
			w.fail("not settled after %v: %s", within, why)
		}
	}
}

// after has f happen later.
func (w *World) after(d time.Duration, f func()) {
	heap.Push(&w.events, event{at: w.now + max(d, 0), order: w.order, do: f})
	w.order++
}

// run lets time pass up to a moment.
func (w *World) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.report.Events++
		e.do()
	}
	w.now = until
}

// time is now as the cores take it.
func (w *World) time() time.Time { return began.Add(w.now) }

// trace writes a line of the transcript.
func (w *World) trace(format string, args ...any) {
	w.line = fmt.Appendf(w.line[:0], "%11.6f ", w.now.Seconds())
	w.line = append(fmt.Appendf(w.line, format, args...), '\n')
	w.hash.Write(w.line)
	if w.opt.Transcript != nil {
		w.opt.Transcript.Write(w.line)
	}
}

// fail ends the run: a promise is broken.
func (w *World) fail(format string, args ...any) {
	panic(violation{fmt.Errorf(format, args...)})
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return w.rnd.Float64() < p }

// between draws a duration, short ones as likely as long ones: it is even in
// the logarithm.
func (w *World) between(from, to time.Duration) time.Duration {
	d := from
	for d < to && w.rnd.IntN(4) > 0 {
		d *= 2
	}
	d = min(d, to)
	return from + time.Duration(w.rnd.Int64N(int64(d-from)+1))
}

// one draws an element, or the zero value of none.
func one[T any](w *World, list []T) (x T) {
	if len(list) > 0 {
		x = list[w.rnd.IntN(len(list))]
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
