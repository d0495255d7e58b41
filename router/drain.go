package router

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/router/websocket"
)

// drain is a lane's closing down.
type drain struct {
	began time.Time // zero: not draining
	total int       // how many there were to tell
}

// Drain has health checks answered 503 draining, and once DrainDelay is over,
// handshakes too. It closes the WebSockets that are there one by one with 1012,
// evenly over DrainTime: clients that all came back at once would only move the
// load. Then the port is closed. It returns when
// the clients are gone, at the latest CloseTime after the last was told, and the
// owners have what they published, for which it waits a second at most; or with
// ctx.
func (r *Router) Drain(ctx context.Context) error {
	r.leaving.Store(true)
	if err := pause(ctx, r.cfg.DrainDelay); err != nil {
		return err
	}
	r.draining.Store(true)
	for _, l := range r.lanes {
		if err := l.ask(ctx, l.startDrain); err != nil {
			return err
		}
	}
	every := time.NewTicker(wheelTick / 5)
	defer every.Stop()
	if err := wait(ctx, every.C, func() bool { return r.open.Load() == 0 }); err != nil {
		return err
	}
	for _, l := range r.lanes {
		if err := l.ask(ctx, l.shut); err != nil {
			return err
		}
	}
	if ln := r.listener.Load(); ln != nil {
		(*ln).Close() // so that who comes now is refused at once, and tries another
	}
	if err := wait(ctx, every.C, func() bool { return r.conns.Load() == 0 }); err != nil {
		return err
	}
	return r.awaitOwners(ctx, every.C)
}

// pause returns after the time, or with ctx.
func pause(ctx context.Context, span time.Duration) error {
	over := time.NewTimer(span)
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait returns when done says so, or with ctx.
func wait(ctx context.Context, every <-chan time.Time, done func() bool) error {
	for !done() {
		select {
		case <-every:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// ownersTime bounds how long a drained router waits for acknowledgements.
const ownersTime = time.Second

// awaitOwners waits until nothing that was published here is unacknowledged: it
// would be lost with this process.
func (r *Router) awaitOwners(ctx context.Context, every <-chan time.Time) error {
	short, cancel := context.WithTimeout(ctx, ownersTime)
	defer cancel()
	for {
		stats, err := r.Stats(short)
		if err != nil {
			return context.Cause(ctx)
		}
		held := 0
		for i := range stats {
			held += stats[i].Hub.Unacknowledged
		}
		if held == 0 {
			return nil
		}
		select {
		case <-every:
		case <-short.Done():
			r.log.Warn("publishes lost", zap.Int("bytes", held))
			return context.Cause(ctx)
		}
	}
}

func (l *lane) startDrain() {
	l.leaving = append([]*conn(nil), l.conns...)
	rand.Shuffle(len(l.leaving), func(i, j int) { l.leaving[i], l.leaving[j] = l.leaving[j], l.leaving[i] })
	l.drain = drain{began: l.loop.Now(), total: len(l.leaving)}
	l.drainTick(l.loop.Now())
}

// shut accepts no more sockets and ends those that have asked nothing.
func (l *lane) shut() {
	l.loop.StopListening()
	l.hurryPosts(l.loop.Now())
	for i := len(l.conns) - 1; i >= 0; i-- {
		if c := l.conns[i]; c.state == stateRequest {
			c.end()
		}
	}
}

// drainTick tells those whose turn has come. The order is random, so the time
// of each is too.
func (l *lane) drainTick(now time.Time) {
	if l.drain.began.IsZero() {
		return
	}
	stay := 0
	if over := l.router.cfg.DrainTime; over > 0 {
		left := max(over-now.Sub(l.drain.began), 0)
		stay = int(int64(l.drain.total) * int64(left) / int64(over))
	}
	for len(l.leaving) > stay {
		c := l.leaving[len(l.leaving)-1]
		l.leaving = l.leaving[:len(l.leaving)-1]
		c.leave()
	}
	if stay == 0 { // those who were half-way in when it began
		for i := len(l.conns) - 1; i >= 0; i-- {
			l.conns[i].leave()
		}
	}
}

// leave tells a conn to go elsewhere, once. One that has not asked anything yet
// is told when it does; one that waits for its message to be acknowledged has its
// answer in a moment.
func (c *conn) leave() {
	switch c.state {
	case stateOpen:
		c.lane.counters.Drained++
		c.close(websocket.CloseRestart, "draining: this router is shutting down, come back through another")
	case stateBody:
		c.refuse(websocket.ErrDraining)
	case stateJoining:
		c.lane.hub.Leave(&c.member, c.lane.loop.Now())
		c.refuse(websocket.ErrDraining)
	}
}
