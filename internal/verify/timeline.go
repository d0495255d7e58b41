package verify

import (
	"sync/atomic"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// timeline is what came when: how much, and how late, in steps of 100 ms or a multiple of it.
type timeline struct {
	live [2]loadgen.Latencies // the one that deliveries go to, and the one that was
	turn atomic.Int32

	// limit is how many points there may be, then two become one. Set before the first tick.
	limit int

	// Owned by the goroutine that ticks.
	points []Point
	start  time.Duration
	begun  time.Duration // when the step that is live did
	width  time.Duration
}

// Point is a step of the timeline. Times are in milliseconds, but for At.
type Point struct {
	At        float64 // seconds after the first message was due
	PerSecond float64 // deliveries
	P50, P99  float64
	Max       float64
}

const (
	firstWidth = 100 * time.Millisecond
	maxPoints  = 6000 // ten minutes of them
)

func (t *timeline) add(took int64) { t.live[t.turn.Load()].Add(took) }

// tick ends a step when it is time.
func (t *timeline) tick(now time.Duration) {
	t.width = max(t.width, firstWidth)
	if now-t.begun < t.width {
		return
	}
	turn := t.turn.Load()
	t.turn.Store(1 - turn)
	was := t.live[turn : turn+1]
	q := loadgen.Quantiles(was, 0.5, 0.99)
	t.points = append(t.points, Point{At: (t.begun - t.start).Seconds(), PerSecond: float64(loadgen.Count(was)) / (now - t.begun).Seconds(),
		P50: ms(q[0]), P99: ms(q[1]), Max: ms(loadgen.Maximum(was))})
	was[0].Reset()
	t.begun = now
	if len(t.points) >= t.limit {
		t.halve()
	}
}

// halve makes one step of two. Its percentiles are the worse ones.
func (t *timeline) halve() {
	half := t.points[:0]
	for i := 0; i+1 < len(t.points); i += 2 {
		a, b := t.points[i], t.points[i+1]
		half = append(half, Point{a.At, (a.PerSecond + b.PerSecond) / 2, max(a.P50, b.P50), max(a.P99, b.P99), max(a.Max, b.Max)})
	}
	t.points, t.width = half, 2*t.width
}

// from begins the timeline: what was before is left out.
func (t *timeline) from(now time.Duration) {
	t.points, t.begun, t.start = nil, now, now
	t.live[0].Reset()
	t.live[1].Reset()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
