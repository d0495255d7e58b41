// Package latency counts how long things took, without allocating: a histogram
// with fixed buckets, a plain value that its one owner writes and whoever wants
// to show it copies.
package latency

import "time"

// Bounds are the upper ends of the buckets, each included in its bucket. What
// is longer than the last is counted too, in a bucket of its own. They reach
// from a write on loopback to the longest that a publish may wait.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 60 * time.Second,
}

// Histogram counts durations. The zero value has counted nothing.
type Histogram struct {
	Counts [len(Bounds) + 1]uint64 // by bucket, not summed up; the last is above all Bounds
	Sum    time.Duration           // of all that was counted
}

// Count counts one duration; a negative one, which a clock that was set could
// make, counts as none at all.
func (h *Histogram) Count(d time.Duration) {
	d = max(d, 0)
	h.Sum += d
	for i, bound := range Bounds {
		if d <= bound {
			h.Counts[i]++
			return
		}
	}
	h.Counts[len(Bounds)]++
}

// Total is how many durations were counted.
func (h *Histogram) Total() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Add counts in what another one counted.
func (h *Histogram) Add(o *Histogram) {
	h.Sum += o.Sum
	for i, c := range o.Counts {
		h.Counts[i] += c
	}
}
