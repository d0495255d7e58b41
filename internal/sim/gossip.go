package sim

import (
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/gossip"
	"github.com/roomring/roomring/internal/sim/timeline"
)

const gossipEvery = 250 * time.Millisecond

// gossiper is a node as package gossip sees it.
type gossiper struct{ *node }

func (g gossiper) Alive() bool                         { return g.alive }
func (g gossiper) Frozen() bool                        { return g.frozen }
func (g gossiper) Passes(to gossip.Process) bool       { return g.host.passes(to.(gossiper).host) }
func (g gossiper) Do(f func())                         { g.do(f) }
func (g gossiper) Soon(f func())                       { g.soon(f) }
func (g gossiper) Often(every time.Duration, f func()) { g.every(every, f) }
func (g gossiper) Tell(nodes []cluster.Node) {
	g.call(func() { g.keeper.SetNodes(g.w.Time(), nodes) })
}

func (w *World) newCircle() *gossip.Circle {
	return &gossip.Circle{
		Timeline: w.Timeline, Every: gossipEvery,
		Living: func() (all []*gossip.Gossip) {
			for _, n := range w.living() {
				all = append(all, n.gossip)
			}
			return all
		},
		Draw: func() *gossip.Gossip {
			if n := timeline.One(w.Timeline, w.hosts).now; n != nil {
				return n.gossip
			}
			return nil
		},
	}
}

// newGossip is that of a node that has just started.
func (w *World) newGossip(n *node) *gossip.Gossip {
	return w.circle.Add(cluster.Node{
		Name: n.name, Role: n.host.role, Zone: n.host.zone, Lanes: len(n.lanes), Started: int64(n.started / time.Microsecond),
		Addresses: cluster.Addresses{Link: n.host.address(), Gossip: string(n.host.id) + ":7401"},
	}, gossiper{n})
}
