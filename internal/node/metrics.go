package node

import (
	"cmp"
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomring/roomring/admin"
)

// scrapeTime bounds how long a scrape waits for the lanes' counters.
const scrapeTime = time.Second

// samples reads the counters of all parts. What does not answer in time is
// left out, not guessed.
func (n *Node) samples() []admin.Sample {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	samples, err := n.role.samples(ctx, nil)
	if err != nil {
		samples = nil
	}
	links, register, figures, seen := n.mesh.Stats(), n.voting.Stats(), n.cluster.Figures(), n.chronicle.stats()
	samples = admin.AppendStats(samples, "link", &links)
	samples = admin.AppendStats(samples, "cluster", &figures)
	samples = admin.AppendStats(samples, "cluster", n.cluster.Stats())
	samples = admin.AppendStats(samples, "cluster", &seen)
	samples = admin.AppendStats(samples, "register", &register)
	if n.gossip != nil {
		gossip := n.gossip.Stats()
		samples = admin.AppendStats(samples, "gossip", &gossip)
	}
	samples = admin.AppendStats(samples, "node", &n.control.stats)
	return append(samples, n.own()...)
}

// own is what a node says of itself.
func (n *Node) own() []admin.Sample {
	ready, _ := (*source)(n).Ready()
	gauge := func(name, help string, value float64) admin.Sample {
		return admin.Sample{Name: "roomring_" + name, Help: help, Gauge: true, Value: value}
	}
	about := func(name, help string, labels prometheus.Labels) admin.Sample {
		return admin.Sample{Name: "roomring_" + name, Help: help, Gauge: true, Value: 1, Labels: labels}
	}
	return []admin.Sample{
		about("build_info", "1, with what this node was built from.", prometheus.Labels{
			"version": cmp.Or(n.cfg.Version, "unknown"), "goversion": runtime.Version(), "goos": runtime.GOOS, "goarch": runtime.GOARCH, "role": n.kind.String(),
		}),
		about("node_info", "1, with who this node is.", prometheus.Labels{
			"cluster": n.cfg.Cluster, "id": string(n.name.ID()), "incarnation": n.name.Incarnation().String(), "role": n.kind.String(), "zone": n.cfg.Zone,
		}),
		about("cluster_key_info", "1, with the fingerprint of the cluster key that this node uses, and how many it knows.", n.keyLabels()),
		gauge("ready", "1 while this node should be given work, as /readyz says.", truth(ready)),
		gauge("draining", "1 from when this node was told to leave.", truth(n.control.draining.Load())),
		gauge("memory_limit_bytes", "What this process may use: --memory-limit, as it took effect.", float64(n.process.memory(n.memoryLimit).Limit)),
		gauge("clock_seconds", "Wall time of this node when it was read, in Unix seconds.", float64(time.Now().UnixNano())/1e9),
		{Name: "roomring_log_dropped_total", Help: "Log lines left out because there were too many of their kind.", Value: float64(n.logDropped())},
	}
}

func (n *Node) logDropped() uint64 {
	if n.cfg.LogDropped == nil {
		return 0
	}
	return n.cfg.LogDropped()
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
