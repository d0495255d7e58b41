package sim

import (
	"io"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/gossip"
	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/shard/partition"
)

// Options is what Run is asked for.
type Options struct {
	// Seed decides everything else.
	Seed uint64

	// Hub, Partition and Keeper switch a rule of a core off, to see that it is
	// noticed.
	Hub       hub.Break
	Partition partition.Break
	Keeper    cluster.Break

	// Directed has a certain thing happen in place of the seed's faults. If
	// zero, nothing does.
	Directed Directed

	// Transcript gets a line per event. If nil, nobody reads along.
	Transcript io.Writer
}

// Report is how a run went.
type Report struct {
	Seed      uint64
	Hash      uint64        // of the transcript
	Events    int           // that happened
	Virtual   time.Duration // that passed in the simulation
	Settling  time.Duration // from the last fault until nothing waited for anything
	Published int           // messages that members sent
	Heard     int           // messages that members were given
	Faults    [faultKinds]int
	Frames    [256]int // that arrived, by type
	Fenced    int      // of them, those by which a router told a shard of a newer term
	Held      int      // frames that routers held until the Table told their term
	Told      [toldKinds]int
	Changes   [changeKinds]int // of rows of the Table
	Wishes    [8]int           // by kind, as they changed
	Violation error            // nil: every promise was kept; else the first that was broken
}

// World is one run.
type World struct {
	*timeline.Timeline
	opt    Options
	shape  shape
	calm   bool          // faults are over
	end    time.Duration // of the trouble
	report Report

	hosts     []*host
	nodes     []*node // living and dead, in the order of their starts
	byName    map[proto.NodeName]*node
	circle    *gossip.Circle
	routers   []*router // the same, by role
	shards    []*shard
	pairs     []*pair // of living nodes
	registers []*register
	clients   []*client
	ledger    *ledger
	ambush    ambush
}

// Run plays one seed to its end, or to the first broken promise.
func Run(o Options) Report {
	w := &World{Timeline: timeline.New(o.Seed, 0x526f6f6d72696e67, o.Transcript), opt: o, byName: map[proto.NodeName]*node{}}
	w.ledger, w.circle = newLedger(w), w.newCircle()
	err := w.Play(w.play)
	for _, r := range w.routers {
		for _, l := range r.lanes {
			w.report.Held += int(l.hub.Stats().Held)
		}
	}
	w.report.Violation = err
	w.report.Seed, w.report.Hash, w.report.Events, w.report.Virtual = o.Seed, w.Hash(), w.Events, w.Now
	return w.report
}

// The lengths of a run's phases.
const (
	foundingTime = 15 * time.Second // the cluster must stand by then
	chatter      = time.Second      // behind the faults clients go on talking
	settlingTime = 40 * time.Second // then nothing may wait for anything by then
	emptying     = 4 * time.Second  // once all have left, routers must have forgotten by then
	forgetting   = 2 * time.Minute  // and shards by then
)

// play is the course of every run: a founding, faults, peace, an empty house.
func (w *World) play() {
	w.shape = drawShape(w)
	w.Trace("seed %d: %+v", w.opt.Seed, w.shape)
	w.build()
	w.settle(foundingTime, 0, w.unfounded)
	for i := range w.shape.clients {
		w.startClient(i)
	}
	w.end = w.Now + w.shape.trouble
	if w.opt.Directed != 0 {
		w.direct()
	} else {
		w.plague()
	}
	w.Run(w.end)
	w.heal()
	w.Run(w.Now + chatter)
	w.Trace("the clients fall silent")
	since := w.Now
	w.settle(settlingTime, w.shape.resting, w.unsettled)
	w.report.Settling = w.Now - since - w.shape.resting
	w.empty()
	w.Run(w.Now + emptying)
	w.checkRouters()
	w.Run(w.Now + forgetting)
	w.checkShards()
}

// settle lets time pass until nobody says what is missing, and that stays so for
// a while. It must be within a time. Nothing moves without a cause: the Table
// comes to rest.
func (w *World) settle(within, rest time.Duration, missing func() string) {
	end, since := w.Now+within, w.Now
	for mark := (cluster.Mark{}); ; {
		w.Run(w.Now + 200*time.Millisecond)
		why := missing()
		if l := w.leader(); why == "" && l.keeper.Table().Mark() != mark {
			mark, why = l.keeper.Table().Mark(), "the table changes"
		}
		switch {
		case why != "":
			since = w.Now
		case w.Now-since >= rest:
			w.Trace("settled")
			return
		}
		if w.Now >= end {
			w.Fail("not settled after %v: %s", within, why)
		}
	}
}
