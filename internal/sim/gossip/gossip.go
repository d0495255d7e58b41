// Package gossip is a model of gossip for simulations: what each process believes of all others, which
// comes late, on detours or not at all, and may be wrong. It is as bad as memberlist can be, and no
// better; it opens no sockets and draws all chance from the simulation's timeline.
package gossip

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

const (
	suspectedFor = time.Second      // before a node that nobody reaches is called dead
	forgetAfter  = 30 * time.Second // the dead
)

// Circle is those who gossip in one simulation.
type Circle struct {
	Timeline *timeline.Timeline
	Every    time.Duration // between two exchanges of a process

	// Living are the processes that run where there is power, in an order that does not change.
	Living func() []*Gossip

	// Draw draws a host and returns the process that runs there, nil if none does.
	Draw func() *Gossip

	all map[proto.NodeName]*Gossip // the ended ones too
}

// Process is what a Gossip is part of.
type Process interface {
	Alive() bool  // it has not ended
	Frozen() bool // it does nothing for a while

	// Passes reports whether what is sent from here arrives there.
	Passes(to Process) bool

	// Do has the process do something: now, or when it wakes up, or never when it has ended. Soon does
	// so after a moment, Often again and again.
	Do(f func())
	Soon(f func())
	Often(every time.Duration, f func())

	// Tell tells the process's keeper what is believed.
	Tell(nodes []cluster.Node)
}

// Gossip is what one process believes of all: what they say of themselves, and
// who is dead. Words are older or newer by their version, which only their
// subject raises; of one version, dead wins.
type Gossip struct {
	circle  *Circle
	name    proto.NodeName
	process Process
	words   []word // by name
	pending bool   // the keeper is about to be told
}

type word struct {
	node    cluster.Node // as it says
	version int
	dead    bool
	missed  time.Duration // since when nobody reaches it; 0: somebody does
	died    time.Duration
}

// Add returns the Gossip of a process that says this of itself and has heard of nobody.
func (c *Circle) Add(self cluster.Node, p Process) *Gossip {
	g := &Gossip{circle: c, name: self.Name, process: p, words: []word{{node: self, version: 1}}}
	if c.all == nil {
		c.all = make(map[proto.NodeName]*Gossip)
	}
	c.all[self.Name] = g
	return g
}

// Join exchanges words with somebody, and goes on doing so.
func (g *Gossip) Join() {
	t := g.circle.Timeline
	g.process.Often(g.circle.Every, func() {
		g.suspect()
		g.exchange()
	})
	for range 2 {
		t.After(t.Between(time.Millisecond, 100*time.Millisecond), func() { g.process.Do(g.exchange) })
	}
}

// exchange is a push and pull with somebody.
func (g *Gossip) exchange() {
	if q := g.circle.Draw(); q != nil && q != g && !q.process.Frozen() && g.meets(q) {
		theirs := slices.Clone(q.words)
		q.merge(g.words)
		g.merge(theirs)
	}
}

// meets reports whether both hear each other.
func (g *Gossip) meets(q *Gossip) bool {
	return g.process.Passes(q.process) && q.process.Passes(g.process)
}

// spread tells news to all who can hear, soon, or some of them.
func (g *Gossip) spread(news word) {
	t := g.circle.Timeline
	for _, q := range g.circle.Living() {
		if q == g || t.Chance(0.1) {
			continue
		}
		t.After(t.Between(time.Millisecond, 200*time.Millisecond), func() {
			if g.process.Passes(q.process) {
				q.process.Do(func() { q.merge([]word{news}) })
			}
		})
	}
}

func (g *Gossip) merge(words []word) {
	for _, x := range words {
		g.take(x)
	}
}

// take believes a word if it is news.
func (g *Gossip) take(x word) {
	at, known := g.search(x.node.Name)
	if x.node.Name == g.name {
		if own := &g.words[at]; x.dead && x.version >= own.version && g.process.Alive() {
			own.version = x.version + 1 // I live
			g.spread(*own)
		}
		return
	}
	x.missed = 0
	if x.dead {
		x.died = g.circle.Timeline.Now
	}
	switch {
	case !known && x.dead:
		return // who forgot a dead node does not need it back
	case !known:
		g.words = slices.Insert(g.words, at, x)
	case x.version > g.words[at].version, x.version == g.words[at].version && x.dead && !g.words[at].dead:
		g.words[at] = x
	default:
		return
	}
	g.tell()
}

func (g *Gossip) search(name proto.NodeName) (int, bool) {
	return slices.BinarySearchFunc(g.words, name, func(x word, name proto.NodeName) int { return cmp.Compare(x.node.Name, name) })
}

// tell lets the keeper know, soon.
func (g *Gossip) tell() {
	if g.pending {
		return
	}
	g.pending = true
	g.process.Soon(func() {
		g.pending = false
		g.process.Tell(g.Nodes())
	})
}

// Nodes is what a keeper is told.
func (g *Gossip) Nodes() (all []cluster.Node) {
	for _, x := range g.words {
		n := x.node
		if x.dead {
			n.State = cluster.Dead
		}
		all = append(all, n)
	}
	return all
}

// suspect calls nodes dead that neither we nor others reach, and forgets those
// who long are.
func (g *Gossip) suspect() {
	now, changed := g.circle.Timeline.Now, false
	for i := 0; i < len(g.words); i++ {
		x := &g.words[i]
		switch {
		case x.node.Name == g.name:
		case x.dead && now-x.died >= forgetAfter:
			g.words = slices.Delete(g.words, i, i+1)
			i--
			changed = true
		case x.dead:
		case g.reaches(g.circle.all[x.node.Name]):
			x.missed = 0
		case x.missed == 0:
			x.missed = now
		case now-x.missed >= suspectedFor:
			g.bury(x)
			changed = true
		}
	}
	if changed {
		g.tell()
	}
}

// Slander calls a node dead that is believed to live, rightly or not.
func (g *Gossip) Slander(name proto.NodeName) {
	if at, known := g.search(name); known && name != g.name && !g.words[at].dead {
		g.bury(&g.words[at])
	}
}

func (g *Gossip) bury(x *word) {
	t := g.circle.Timeline
	x.dead, x.died = true, t.Now
	t.Trace("gossip at %s: %s is dead", g.name, x.node.Name)
	g.spread(*x)
	g.tell()
}

// reaches reports whether the node answers us, or somebody who asks it for us.
func (g *Gossip) reaches(q *Gossip) bool {
	if !q.process.Alive() || q.process.Frozen() {
		return false
	}
	if g.meets(q) {
		return true
	}
	return slices.ContainsFunc(g.circle.Living(), func(via *Gossip) bool {
		return !via.process.Frozen() && g.meets(via) && via.meets(q)
	})
}

// own is what this process says of itself.
func (g *Gossip) own() *word {
	at, _ := g.search(g.name)
	return &g.words[at]
}

// Announce says what a keeper wants others to know.
func (g *Gossip) Announce(a cluster.Announced) {
	own := g.own()
	own.node.Instance, own.node.Voter = a.Instance, a.Voter
	if a.Draining {
		own.node.State = cluster.Draining
	}
	own.version++
	g.spread(*own)
	g.tell()
}

// Leave says goodbye.
func (g *Gossip) Leave() {
	own := g.own()
	own.version++
	own.dead, own.node.Left = true, true
	g.spread(*own)
}
