package council

import (
	"io"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/gossip"
	"github.com/roomring/roomring/internal/sim/timeline"
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

// World is one run.
type World struct {
	*timeline.Timeline
	opt   Options
	shape shape
	calm  bool          // faults are over
	end   time.Duration // of the trouble

	recovered time.Duration // when an operator last asked for it

	report Report

	hosts     []*host
	processes []*process // living and dead, in the order of their starts
	byName    map[proto.NodeName]*process
	circle    *gossip.Circle
	links     []*link // that are open at one end at least
	linkCount int
	ledger    *ledger
}

// Run plays one seed to its end, or to the first broken promise.
func Run(o Options) Report {
	w := &World{Timeline: timeline.New(o.Seed, 0x636f756e63696c, o.Transcript), opt: o, byName: make(map[proto.NodeName]*process)}
	w.ledger, w.circle = newLedger(w), w.newCircle()
	w.report.Violation = w.Play(w.play)
	w.report.Seed, w.report.Hash, w.report.Events, w.report.Virtual = o.Seed, w.Hash(), w.Events, w.Now
	return w.report
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
	w.Trace("seed %d: %+v", w.opt.Seed, w.shape)
	w.build()
	if !w.shape.badFounding {
		w.settle(foundingTime)
	}
	w.end = w.Now + w.shape.trouble
	w.plague()
	w.Run(w.end)
	w.heal()
	since := w.Now
	w.settle(settlingTime)
	w.report.Settling = w.Now - since
	if w.report.Torn {
		return
	}
	w.Run(w.Now + resting)
	if why := w.unsettled(); why != "" {
		w.Fail("it did not stay settled: %s", why)
	}
}

// settle lets time pass until all is well; that must be within a time.
func (w *World) settle(within time.Duration) {
	for end := w.Now + within; ; {
		w.Run(w.Now + 250*time.Millisecond)
		why := w.unsettled()
		switch {
		case why == "" || w.report.Torn:
			w.Trace("settled")
			return
		case w.Now >= end:
			w.Fail("not settled after %v: %s", within, why)
		}
	}
}
