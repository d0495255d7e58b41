package node

import (
	"context"
	"sync"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

const (
	// probeMin and probeMax are the times between two probes of a node: quick at first, since a
	// crash is to be seen within milliseconds, then rarer.
	probeMin = 20 * time.Millisecond
	probeMax = time.Second

	// maxProbes bounds the probes under way; the next ones wait for the next look.
	maxProbes = 32
)

// prober asks at the addresses of lost nodes who is there.
type prober struct {
	node *Node

	mu    sync.Mutex // guards nodes
	nodes map[proto.NodeName]*probed
}

// probed is a node that is being asked after.
type probed struct {
	next time.Time // when it is probed again
	wait time.Duration
	busy bool
}

// run probes what the cluster wants probed, until ctx ends.
func (p *prober) run(ctx context.Context) error {
	changed, stop := p.node.cluster.Watch()
	defer stop()
	var probes sync.WaitGroup
	defer probes.Wait()
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		due, wait := p.due(p.node.cluster.Probes(), time.Now())
		for _, x := range due {
			probes.Go(func() { p.probe(ctx, x) })
		}
		look.Reset(wait)
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// due returns who is to be probed now and when to look again, and forgets who is not in the list.
func (p *prober) due(list []cluster.Probe, now time.Time) (due []cluster.Probe, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait = time.Hour // a change of the list wakes us
	busy := p.keep(list)
	for _, x := range list {
		n := p.nodes[x.Name]
		if n == nil {
			n = &probed{wait: probeMin}
			p.nodes[x.Name] = n
		}
		switch {
		case n.busy || busy >= maxProbes:
			wait = min(wait, probeMin)
		case now.Before(n.next):
			wait = min(wait, n.next.Sub(now))
		default:
			n.busy = true
			busy++
			due = append(due, x)
			wait = min(wait, probeMin)
		}
	}
	return due, wait
}

// keep forgets who is not in the list, and counts the probes under way. p.mu is held.
func (p *prober) keep(list []cluster.Probe) (busy int) {
	wanted := make(map[proto.NodeName]bool, len(list))
	for _, x := range list {
		wanted[x.Name] = true
	}
	for name, n := range p.nodes {
		if n.busy {
			busy++
		} else if !wanted[name] {
			delete(p.nodes, name)
		}
	}
	return busy
}

func (p *prober) probe(ctx context.Context, x cluster.Probe) {
	fate := p.node.mesh.Probe(ctx, x.Name, x.Link)
	p.mu.Lock()
	if n := p.nodes[x.Name]; n != nil {
		n.busy, n.next = false, time.Now().Add(n.wait)
		n.wait = min(2*n.wait, probeMax)
	}
	p.mu.Unlock()
	if ctx.Err() == nil {
		p.node.cluster.SetFate(x.Name, fates[fate])
	}
}

// fates is what probes say in the words of the cluster. That somebody else has the address now proves
// nothing of who had it before.
var fates = map[link.Fate]cluster.Fate{
	link.FateAlive:    cluster.FateAlive,
	link.FateRefused:  cluster.FateRefused,
	link.FateReplaced: cluster.FateReplaced,
}
