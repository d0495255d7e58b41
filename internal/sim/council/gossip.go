package council

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

const (
	gossipEvery  = 200 * time.Millisecond
	suspectedFor = time.Second      // before a node that nobody reaches is called dead
	forgetAfter  = 30 * time.Second // the dead
)

// gossip is what one process believes of all: what they say of themselves, and who is dead. Words
// are older or newer by their version, which only their subject raises; of one version, dead wins.
type gossip struct {
	p       *process
	words   []word // by name
	pending bool   // the keeper is about to be told
}

type word struct {
	node    cluster.Node // as it says
	version int
	dead    bool
	left    bool
	missed  time.Duration // since when nobody reaches it; 0: somebody does
	died    time.Duration
}

func newGossip(p *process) *gossip {
	g := &gossip{p: p}
	n := cluster.Node{
		Name: p.name, Role: p.host.role, Lanes: 1, Started: int64(p.started / time.Microsecond),
		Addresses: cluster.Addresses{Link: p.host.address(), Gossip: string(p.host.id) + ":7401"},
	}
	g.words = []word{{node: n, version: 1}}
	return g
}

// join exchanges words with a seed, and goes on doing so.
func (g *gossip) join() {
	g.p.every(gossipEvery, g.round)
	for range 2 {
		g.p.w.After(g.p.w.Between(time.Millisecond, 100*time.Millisecond), func() { g.p.do(g.exchange) })
	}
}

func (g *gossip) round() {
	g.suspect()
	g.exchange()
}

// exchange is a push and pull with somebody.
func (g *gossip) exchange() {
	w := g.p.w
	h := w.hosts[w.Rand.IntN(len(w.hosts))]
	if q := h.now; q != nil && q != g.p && !q.frozen && g.p.host.meets(h) {
		theirs := slices.Clone(q.gossip.words)
		q.gossip.merge(g.words)
		g.merge(theirs)
	}
}

// spread tells news to all who can hear, soon, or some of them.
func (g *gossip) spread(news word) {
	w := g.p.w
	for _, q := range w.living() {
		if q == g.p || w.Chance(0.1) {
			continue
		}
		w.After(w.Between(time.Millisecond, 200*time.Millisecond), func() {
			if g.p.host.passes(q.host) {
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
	w := g.p.w
	at, known := g.search(x.node.Name)
	if x.node.Name == g.p.name {
		if own := &g.words[at]; x.dead && x.version >= own.version && g.p.alive {
			own.version = x.version + 1 // I live
			g.spread(*own)
		}
		return
	}
	x.missed = 0
	if x.dead {
		x.died = w.Now
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
	g.p.soon(func() {
		g.pending = false
		g.p.call(func() { g.p.keeper.SetNodes(g.p.w.Time(), g.nodes()) })
	})
}

// nodes is what the keeper is told.
func (g *gossip) nodes() (all []cluster.Node) {
	for _, x := range g.words {
		n := x.node
		if x.dead {
			n.State, n.Left = cluster.Dead, x.left
		}
		all = append(all, n)
	}
	return all
}

// suspect calls nodes dead that neither we nor others reach, and forgets those who long are.
func (g *gossip) suspect() {
	w := g.p.w
	changed := false
	for i := 0; i < len(g.words); i++ {
		x := &g.words[i]
		switch {
		case x.node.Name == g.p.name:
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
	x.dead, x.died = true, g.p.w.Now
	g.p.w.Trace("gossip at %s: %s is dead", g.p.name, x.node.Name)
	g.spread(*x)
	g.tell()
}

// reaches reports whether the node answers us, or somebody who asks it for us.
func (g *gossip) reaches(q *process) bool {
	if !q.alive || q.frozen {
		return false
	}
	if g.p.host.meets(q.host) {
		return true
	}
	for _, via := range g.p.w.living() {
		if !via.frozen && g.p.host.meets(via.host) && via.host.meets(q.host) {
			return true
		}
	}
	return false
}

// own is what this process says of itself.
func (g *gossip) own() *word {
	at, _ := g.search(g.p.name)
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
	own.dead, own.left = true, true
	g.spread(*own)
}
