package link

import (
	"runtime"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// BenchmarkMemory is what an end of a link keeps while nothing is said on it, in the process and over real
// sockets: 64 links between a node of one lane and one of 64, after each has carried a frame.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		r, s := launch(b, nil, "127.0.0.1", routerConfig(), 1), launch(b, nil, "127.0.0.1", shardConfig(), MaxLanes)
		before := live()
		r.mesh.Want([]Target{s.target()})
		await(b, time.Minute, "links up", func() bool { return r.links() == MaxLanes && s.links() == MaxLanes })
		r.lanes[0].on(func() {
			for _, l := range r.lanes[0].links {
				l.Control(func(b []byte) []byte { return appendNumbered(b, proto.FrameVersion, 1, 60) })
			}
		})
		heard := func() (n int) {
			for _, x := range s.lanes {
				x.on(func() { n += len(x.heard) })
			}
			return n
		}
		await(b, time.Minute, "a frame on each", func() bool { return heard() == MaxLanes })
		idle := time.NewTimer(3 * shrinkEvery)
		<-idle.C
		b.ReportMetric(float64(live()-before)/(2*MaxLanes), "B/link")
		r.end()
		s.end()
	}
}

// live is what lives on the heap and on stacks.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
