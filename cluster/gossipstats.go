package cluster

import (
	"bytes"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/roomring/roomring/internal/latency"
)

// GossipStats counts what memberlist does. It is a copy.
type GossipStats struct {
	HealthScore int `metric:"gauge" help:"How slow gossip thinks that this node itself is: 0 is healthy, above that it gives others more time to answer."`

	Probe        latency.Histogram `help:"Time until a probed node answered, of those that answered directly and in time."`
	ProbesFailed uint64            `help:"Probes that were not answered directly and in time; other nodes are asked to probe then."`
	Unreachable  uint64            `help:"Probes that nobody got an answer to: the node is suspected."`
	Verdicts     uint64            `help:"Times that this node called another dead because nobody objected in time."`
	Refutations  uint64            `help:"Times that this node had to object to being called suspect or dead."`
	ProbesByTCP  uint64            `help:"Probes that were answered over TCP only: packets are lost or filtered."`
	Warnings     uint64            `help:"Warnings and errors of memberlist, logged or not: strangers bring them about too."`
}

// Stats returns what was counted so far. It may be called from any goroutine.
func (g *Gossip) Stats() GossipStats {
	g.stats.mu.Lock()
	defer g.stats.mu.Unlock()
	s := g.stats.GossipStats
	if g.list != nil {
		s.HealthScore = g.list.GetHealthScore()
	}
	return s
}

// gossipStats is GossipStats while memberlist runs. It tells of its answers as a PingDelegate, and of what
// failed in its log alone.
type gossipStats struct {
	mu sync.Mutex
	GossipStats
}

var _ memberlist.PingDelegate = (*gossipStats)(nil)

// AckPayload adds nothing to an answer.
func (*gossipStats) AckPayload() []byte { return nil }

// NotifyPingComplete counts an answer.
func (s *gossipStats) NotifyPingComplete(_ *memberlist.Node, took time.Duration, _ []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Probe.Count(took)
}

// hear counts what a line of memberlist's log tells.
func (s *gossipStats) hear(line []byte, warning bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if warning {
		s.Warnings++
	}
	switch begins, has := bytes.HasPrefix, bytes.Contains; {
	case begins(line, []byte("Failed UDP ping: ")):
		s.ProbesFailed++
	case begins(line, []byte("Suspect ")) && has(line, []byte("no acks received")):
		s.Unreachable++
	case begins(line, []byte("Marking ")) && has(line, []byte("suspect timeout reached")):
		s.Verdicts++
	case begins(line, []byte("Refuting a suspect message")), begins(line, []byte("Refuting a dead message")):
		s.Refutations++
	case begins(line, []byte("Was able to connect to ")) && has(line, []byte("UDP probes failed")):
		s.ProbesByTCP++
	}
}
