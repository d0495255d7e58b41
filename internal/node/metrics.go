package node

import (
	"context"
	"time"

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
	links := n.mesh.Stats()
	samples = admin.AppendStats(samples, "link", &links)
	samples = admin.AppendStats(samples, "node", &n.control.stats)
	return admin.AppendStats(samples, "cluster", n.cluster.Stats())
}
