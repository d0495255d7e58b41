package loadgen

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Latencies counts durations in buckets that are 1/64 of their value wide, so percentiles are right
// within 2 percent. Many goroutines may add at once.
type Latencies struct {
	counts [(64 - subBits + 1) << subBits]atomic.Uint64
	max    atomic.Int64
}

const subBits = 6

func bucketOf(d int64) int {
	v := uint64(max(d, 0))
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// middleOf returns the middle of a bucket's durations.
func middleOf(bucket int) int64 {
	if bucket < 1<<subBits {
		return int64(bucket)
	}
	shift := bucket>>subBits - 1
	low := int64(bucket&(1<<subBits-1)+1<<subBits) << shift
	return low + int64(1)<<shift/2
}

// Add counts a duration in nanoseconds.
func (l *Latencies) Add(d int64) {
	l.counts[bucketOf(d)].Add(1)
	raise(&l.max, d)
}

// Quantiles returns, for each q (ascending, 0 to 1), the duration that a share q did not exceed.
func Quantiles(shards []Latencies, qs ...float64) []time.Duration {
	var sums [len(shards[0].counts)]uint64
	var total uint64
	for s := range shards {
		for i := range sums {
			n := shards[s].counts[i].Load()
			sums[i] += n
			total += n
		}
	}
	out := make([]time.Duration, len(qs))
	if total == 0 {
		return out
	}
	seen, i := sums[0], 0
	for k, q := range qs {
		want := uint64(q * float64(total-1))
		for seen <= want {
			i++
			seen += sums[i]
		}
		out[k] = time.Duration(middleOf(i))
	}
	return out
}

// Maximum returns the longest of all.
func Maximum(shards []Latencies) time.Duration {
	most := int64(0)
	for s := range shards {
		most = max(most, shards[s].max.Load())
	}
	return time.Duration(most)
}

// Reset forgets all.
func (l *Latencies) Reset() {
	for i := range l.counts {
		l.counts[i].Store(0)
	}
	l.max.Store(0)
}

// Count returns how many durations were counted.
func Count(shards []Latencies) (n uint64) {
	for s := range shards {
		for i := range shards[s].counts {
			n += shards[s].counts[i].Load()
		}
	}
	return n
}
