package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

const (
	gossipEvery  = 250 * time.Millisecond
	suspectedFor = time.Second      // before a node that nobody reaches is called dead
	forgetAfter  = 30 * time.Second // the dead
)

// gossip is what one process believes of all: what they say of themselves, and
// who is dead. Words are older or newer by their version, which only their
// subject raises; of one version, dead wins. Package council has the same one, and
// tests what is decided by it.
type gossip struct {
	n       *node
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

func newGossip(n *node) *gossip {
	x := cluster.Node{
		Name: n.name, Role: n.host.role, Zone: n.host.zone, Lanes: len(n.lanes), Started: int64(n.started / time.Microsecond),
		Addresses: cluster.Addresses{Link: n.host.address(), Gossip: string(n.host.id) + ":7401"},
	}
	return &gossip{n: n, words: []word{{node: x, version: 1}}}
}

// join exchanges words with somebody, and goes on doing so.
func (g *gossip) join() {
	g.n.every(gossipEvery, func() {
		g.suspect()
		g.exchange()
	})
	for range 2 {
		g.n.w.After(g.n.w.Between(time.Millisecond, 100*time.Millisecond), func() { g.n.do(g.exchange) })
	}
}

// exchange is a push and pull with somebody.
func (g *gossip) exchange() {
	w := g.n.w
	h := w.hosts[w.Rand.IntN(len(w.hosts))]
	if q := h.now; q != nil && q != g.n && !q.frozen && g.n.host.meets(h) {
		theirs := slices.Clone(q.gossip.words)
		q.gossip.merge(g.words)
		g.merge(theirs)
	}
}

// spread tells news to all who can hear, soon, or some of them.
func (g *gossip) spread(news word) {
	w := g.n.w
	for _, q := range w.living() {
		if q == g.n || w.Chance(0.1) {
			continue
		}
		w.After(w.Between(time.Millisecond, 200*time.Millisecond), func() {
			if g.n.host.passes(q.host) {
				q.do(func() { q.gossip.merge([]word{news}) })
			}
		})
	}
}

func (g *gossip) merge(words []word) {
	for _, x := range words {
		g.take(x)
	}
}

// take believes a word if it is news.
func (g *gossip) take(x word) {
	at, known := g.search(x.node.Name)
	if x.node.Name == g.n.name {
		if own := &g.words[at]; x.dead && x.version >= own.version && g.n.alive {
			own.version = x.version + 1 // I live
			g.spread(*own)
		}
		return
	}
	x.missed = 0
	if x.dead {
		x.died = g.n.w.Now
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

func (g *gossip) search(name proto.NodeName) (int, bool) {
	return slices.BinarySearchFunc(g.words, name, func(x word, name proto.NodeName) int { return cmp.Compare(x.node.Name, name) })
}

// tell lets the keeper know, soon.
func (g *gossip) tell() {
	if g.pending {
		return
	}
	g.pending = true
	g.n.soon(func() {
		g.pending = false
		g.n.call(func() { g.n.keeper.SetNodes(g.n.w.Time(), g.nodes()) })
	})
}

// nodes is what the keeper is told.
func (g *gossip) nodes() (all []cluster.Node) {
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
func (g *gossip) suspect() {
	w := g.n.w
	changed := false
	for i := 0; i < len(g.words); i++ {
		x := &g.words[i]
		switch {
		case x.node.Name == g.n.name:
		case x.dead && w.Now-x.died >= forgetAfter:
			g.words = slices.Delete(g.words, i, i+1)
			i--
			changed = true
		case x.dead:
		case g.reaches(w.byName[x.node.Name]):
			x.missed = 0
		case x.missed == 0:
			x.missed = w.Now
		case w.Now-x.missed >= suspectedFor:
			g.bury(x)
			changed = true
		}
	}
	if changed {
		g.tell()
	}
}

// bury calls a node dead, rightly or not.
func (g *gossip) bury(x *word) {
	x.dead, x.died = true, g.n.w.Now
	g.n.w.Trace("gossip at %s: %s is dead", g.n.name, x.node.Name)
	g.spread(*x)
	g.tell()
}

// reaches reports whether the node answers us, or somebody who asks it for us.
func (g *gossip) reaches(q *node) bool {
	if !q.alive || q.frozen {
		return false
	}
	if g.n.host.meets(q.host) {
		return true
	}
	for _, via := range g.n.w.living() {
		if !via.frozen && g.n.host.meets(via.host) && via.host.meets(q.host) {
			return true
		}
	}
	return false
}

// own is what this process says of itself.
func (g *gossip) own() *word {
	at, _ := g.search(g.n.name)
	return &g.words[at]
}

func (g *gossip) announce(a cluster.Announced) {
	own := g.own()
	own.node.Instance, own.node.Voter = a.Instance, a.Voter
	if a.Draining {
		own.node.State = cluster.Draining
	}
	own.version++
	g.spread(*own)
	g.tell()
}

func (g *gossip) leave() {
	own := g.own()
	own.version++
	own.dead, own.node.Left = true, true
	g.spread(*own)
}
