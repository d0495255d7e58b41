package node

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/roomring/roomring/admin"
)

// countEvery is how often descriptors are counted at most, where that is dear.
const countEvery = 10 * time.Second

// process is what the system and the Go runtime tell of this process.
type process struct {
	mu      sync.Mutex // guards what is below
	open    int        // descriptors, when they were last counted
	counted time.Time
}

// memory reads what is used. configured is said as the limit when the runtime
// has none.
func (p *process) memory(configured int64) admin.MemoryFigures {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}} // unlike runtime.ReadMemStats it stops nobody
	metrics.Read(heap)
	m := admin.MemoryFigures{Used: resident(), Limit: debug.SetMemoryLimit(-1)}
	if m.Limit == math.MaxInt64 {
		m.Limit = configured
	}
	if heap[0].Value.Kind() == metrics.KindUint64 {
		m.Heap = int64(heap[0].Value.Uint64())
	}
	return m
}

// descriptors tells how many are open. It may take milliseconds, once in
// countEvery: it is not for a lane's loop.
func (p *process) descriptors(now time.Time) admin.DescriptorFigures {
	d := admin.DescriptorFigures{Limit: descriptorLimit()}
	if open, ok := descriptorsTold(); ok {
		d.Open = open
		return d
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counted.IsZero() || now.Sub(p.counted) >= countEvery {
		p.open, p.counted = descriptorsCounted(), now
	}
	d.Open = p.open
	return d
}
