package council

import (
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/gossip"
	"github.com/roomring/roomring/internal/sim/timeline"
)

const gossipEvery = 200 * time.Millisecond

// gossiper is a process as package gossip sees it.
type gossiper struct{ *process }

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
			for _, p := range w.living() {
				all = append(all, p.gossip)
			}
			return all
		},
		Draw: func() *gossip.Gossip {
			if p := timeline.One(w.Timeline, w.hosts).now; p != nil {
				return p.gossip
			}
			return nil
		},
	}
}

// newGossip is that of a process that has just started.
func (w *World) newGossip(p *process) *gossip.Gossip {
	return w.circle.Add(cluster.Node{
		Name: p.name, Role: p.host.role, Lanes: 1, Started: int64(p.started / time.Microsecond),
		Addresses: cluster.Addresses{Link: p.host.address(), Gossip: string(p.host.id) + ":7401"},
	}, gossiper{p})
}
