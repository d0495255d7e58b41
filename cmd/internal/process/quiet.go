package process

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	quietEvery = 2 * time.Second
	// quietBytes is more than a process allocates in quietEvery that only
	// gossips, answers probes and sends pings: about 700 KiB, measured.
	quietBytes = 2 << 20
)

// TidyMemory gives memory back to the system once the process has gone quiet after a burst, until ctx
// ends. A burst, such as ten thousand clients that come at once, leaves garbage and free pages behind, and
// Go's collector runs only when more is allocated: without this, a node full of idle conns would keep the
// size of its last burst. Under load, and in lasting quiet, it does nothing.
func TidyMemory(ctx context.Context) {
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	var q quiet
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if q.over(allocated()) {
			debug.FreeOSMemory()
		}
	}
}

// allocated is how many bytes the process has allocated since it started.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// quiet notices the end of a burst.
type quiet struct {
	last uint64 // allocated at the last look
	busy bool   // then a burst was going on
}

// over reports whether a burst has ended since the last look.
func (q *quiet) over(allocated uint64) bool {
	was := q.busy
	q.busy = allocated-q.last > quietBytes
	q.last = allocated
	return was && !q.busy
}
