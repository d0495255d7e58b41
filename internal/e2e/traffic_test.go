//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// traffic is rooms of raw members on several routers, who all publish. They have no numbers to go by:
// what they hear must be right by itself.
type traffic struct {
	t      *testing.T
	rooms  int
	pauses *loadgen.Pauses
	end    context.CancelFunc

	done   chan struct{}
	report *loadgen.Report // set when done is closed; so is err
	err    error
}

// newTraffic joins and publishes at a rate in deliveries per second, until check.
func newTraffic(t *testing.T, rooms, members int, rate float64, routers ...*node) *traffic {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	f := &traffic{t: t, rooms: rooms, pauses: loadgen.NewPauses(rooms), end: end, done: make(chan struct{})}
	cfg := loadgen.Config{Rooms: rooms, Members: members, Publishers: members, Rate: rate, For: time.Hour, Pauses: f.pauses}
	for _, r := range routers {
		cfg.URLs = append(cfg.URLs, "ws://"+r.listen+"/ws?room={room}")
	}
	go func() {
		defer close(f.done)
		f.report, f.err = loadgen.Run(ctx, cfg)
	}()
	t.Cleanup(func() {
		end()
		<-f.done
	})
	f.waitHeard(patience)
	return f
}

// waitHeard waits until every room has heard something that was sent from now on.
func (f *traffic) waitHeard(within time.Duration) {
	f.t.Helper()
	began := time.Now()
	eventually(f.t, "every room goes on", within, func() bool {
		select {
		case <-f.done:
			f.t.Fatalf("the traffic ended: %v", f.err)
		default:
		}
		return f.pauses.HeardSince(began) == f.rooms
	})
}

// during does something, waits until every room has gone on after it, and returns the rooms' pauses,
// ascending.
func (f *traffic) during(what string, do func()) []time.Duration {
	f.t.Helper()
	f.pauses.Lap()
	do()
	f.waitHeard(patience)
	pauses := f.pauses.Lap()
	n := len(pauses)
	f.t.Logf("%s: pause of %d rooms p50 %s, p99 %s, longest %s", what, n, millis(pauses[n/2]), millis(pauses[n*99/100]), millis(pauses[n-1]))
	return pauses
}

// check ends the traffic and checks that every member heard every message once, in one order, and that
// no socket closed.
func (f *traffic) check() {
	f.t.Helper()
	f.end()
	<-f.done
	r := f.report
	switch {
	case f.err != nil:
		f.t.Errorf("traffic: %v", f.err)
	case r.Failed() || r.Disagree > 0 || r.Foreign > 0 || r.Unsent > 0:
		f.t.Errorf("of %d deliveries %d were lost, %d doubled, %d reordered, %d foreign; %d rooms in different orders; %d of %d sockets closed (%s); %d messages not sent",
			r.Delivered, r.Lost, r.Doubled, r.Reordered, r.Foreign, r.Disagree, r.Closed, r.Conns, r.FirstError, r.Unsent)
	default:
		f.t.Logf("%d deliveries of %d messages, each once and in order", r.Delivered, r.Published)
	}
}
