package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/shard/partition"
)

// Options is what Run is asked for.
type Options struct {
	// Seed decides everything else.
	Seed uint64

	// Hub and Partition switch a rule of a core off, to see that it is noticed.
	Hub       hub.Break
	Partition partition.Break

	// Transcript gets a line per event. If nil, nobody reads along.
	Transcript io.Writer
}

// Report is how a run went.
type Report struct {
	Seed      uint64
	Hash      uint64        // of the transcript
	Events    int           // that happened
	Virtual   time.Duration // that passed in the simulation
	Published int           // messages that members sent
	Heard     int           // messages that members were given
	Faults    [faultKinds]int
	Frames    [256]int       // that arrived, by type
	Fenced    int            // of them, those by which a router told a shard of a newer term
	Held      int            // frames that routers held until the Table told their term
	Told      [toldKinds]int // what members were told beside messages
	Violation error          // nil: every promise was kept; else the first that was broken
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
	order  uint64 // of the next event
	calm   bool   // faults are over

	hash   hash.Hash64
	line   []byte
	report Report

	incarnations uint64
	routers      []*router // living and dead, in the order of their starts
	shards       []*shard
	pairs        []*pair
	clients      []*client
	table        *table
	ledger       *ledger
}

// began is the time of the cores' clocks when a run begins.
var began = time.Unix(1_700_000_000, 0)

// Run plays one seed to its end, or to the first broken promise.
func Run(o Options) (r Report) {
	w := &World{opt: o, rnd: rand.New(rand.NewPCG(o.Seed, 0x526f6f6d72696e67)), hash: fnv.New64a()}
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
		for _, r := range w.routers {
			for _, l := range r.lanes {
				w.report.Held += int(l.hub.Stats().Held)
			}
		}
		w.report.Seed, w.report.Hash, w.report.Virtual = o.Seed, w.hash.Sum64(), w.now
		r = w.report
	}()
	w.play()
	return
}

// play is the course of every run: faults, then peace, then an empty house.
func (w *World) play() {
	w.shape = drawShape(w)
	w.trace("seed %d: %+v", w.opt.Seed, w.shape)
	w.found()
	w.plague()
	w.run(w.shape.trouble)
	w.heal()
	w.run(w.now + chatter)
	w.trace("the clients fall silent")
	w.run(w.now + settling)
	w.checkSettled()
	w.empty()
	w.run(w.now + emptying)
	w.checkRouters()
	w.run(w.now + forgetting)
	w.checkShards()
}

// The lengths of a run's phases behind the faults.
const (
	chatter    = time.Second      // clients go on talking
	settling   = 12 * time.Second // everything must have arrived
	emptying   = 4 * time.Second  // routers must have forgotten
	forgetting = 2 * time.Minute  // shards must have forgotten
)

// found starts the nodes and the clients.
func (w *World) found() {
	w.table = newTable(w)
	for i := range w.shape.shards {
		w.startShard(i)
	}
	for i := range w.shape.routers {
		w.startRouter(i)
	}
	w.table.decide()
	for i := range w.shape.clients {
		w.startClient(i)
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
