package register

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// real is count voters over loopback, the first of which leads.
func real(b *testing.B, count int, disk bool) (*world, []*node) {
	w := newWorld(b)
	b.Cleanup(w.end)
	var all []*node
	for i := range count {
		dir := ""
		if disk {
			dir = b.TempDir()
		}
		all = append(all, w.start(fmt.Sprintf("s%d", i+1), 1, dir))
	}
	all[0].found(founding(0))
	w.join(all[1:]...)
	w.settled()
	return w, all
}

// BenchmarkPropose is the time from an order to its end, one at a time.
func BenchmarkPropose(b *testing.B) {
	for _, disk := range []bool{false, true} {
		b.Run(fmt.Sprintf("disk=%v", disk), func(b *testing.B) {
			_, all := real(b, 3, disk)
			var took []time.Duration
			b.ResetTimer()
			for i := range b.N {
				o := all[0].change(proto.Partition(i % rows))
				began := time.Now()
				all[0].must(o)
				took = append(took, time.Since(began))
			}
			report(b, took)
		})
	}
}

// BenchmarkElection is the time from the death of a leader to the next one's barrier. Run it with
// -benchtime 20x.
func BenchmarkElection(b *testing.B) {
	for _, quick := range []bool{false, true} {
		b.Run(fmt.Sprintf("quicken=%v", quick), func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				w, _ := real(b, 5, false)
				dead := w.leader()
				began := time.Now()
				dead.kill()
				if quick {
					for _, n := range w.all() {
						n.must(cluster.Order{Kind: cluster.OrderQuicken})
					}
				}
				w.leader()
				took = append(took, time.Since(began))
				w.end()
			}
			report(b, took)
		})
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
}
