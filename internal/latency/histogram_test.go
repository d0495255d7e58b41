package latency

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h, all Histogram
	for _, d := range []time.Duration{-time.Second, 0, 100 * time.Microsecond, 100*time.Microsecond + 1, time.Hour} {
		h.Count(d)
	}
	all.Add(&h)
	all.Add(&h)
	if got := []uint64{h.Counts[0], h.Counts[1], h.Counts[len(Bounds)]}; got[0] != 3 || got[1] != 1 || got[2] != 1 {
		t.Errorf("buckets %v, want 3, 1 and 1", h.Counts)
	}
	if want := time.Hour + 200*time.Microsecond + 1; h.Sum != want || all.Sum != 2*want {
		t.Errorf("sums %v and %v, want %v and twice that", h.Sum, all.Sum, want)
	}
	if h.Total() != 5 || all.Total() != 10 {
		t.Errorf("counted %d and %d, want 5 and 10", h.Total(), all.Total())
	}
}

func TestBoundsRise(t *testing.T) {
	for i := 1; i < len(Bounds); i++ {
		if Bounds[i] <= Bounds[i-1] {
			t.Errorf("bound %d is %v, not above %v", i, Bounds[i], Bounds[i-1])
		}
	}
}

func TestCountAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Count(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
