package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/proto"
)

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second

	// steady is how long a link must have lived for the next dial to begin
	// with the shortest wait again: one that fails at once is no success.
	steady = 5 * time.Second
)

// dial keeps link index to a node open until ctx ends: one goroutine, which
// mostly waits.
func (m *Mesh) dial(ctx context.Context, name proto.NodeName, index int) {
	wait := backoffMin
	for ctx.Err() == nil {
		began := time.Now()
		l := m.current(name, index)
		if l == nil {
			l = m.connect(ctx, name, index)
		}
		if l != nil {
			select {
			case <-l.ended:
			case <-ctx.Done():
				return
			}
			if time.Since(began) >= steady {
				wait = backoffMin
			}
		}
		// From one attempt to the next, not from its failure: silence that eats
		// an attempt's whole second must not make it two.
		pause(ctx, max(backoffMin/2, wait/2+rand.N(wait/2)-time.Since(began)))
		wait = min(2*wait, backoffMax)
	}
}

// current is the link that is up or about to be, if any.
func (m *Mesh) current(name proto.NodeName, index int) *Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[name]; n != nil {
		return n.links[index]
	}
	return nil
}

// connect dials once and says hello. It returns nil when that failed.
func (m *Mesh) connect(ctx context.Context, name proto.NodeName, index int) *Link {
	m.mu.Lock()
	n := m.nodes[name]
	if n == nil {
		m.mu.Unlock()
		return nil
	}
	addr := n.target.Addr
	m.mu.Unlock()

	m.dials.Add(1)
	short, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := m.cfg.Dial(short, addr)
	if err != nil {
		m.dialFailures.Add(1)
		if ctx.Err() == nil {
			m.log.warn(addr, "dial", "dial failed", zap.String("node", string(name)), zap.String("address", addr), zap.Error(err))
		}
		return nil
	}
	c, peer, err := Open(ctx, c, *m.config(), name, index)
	if err != nil {
		if ctx.Err() == nil {
			m.refuse(addr, name, err)
		}
		return nil
	}
	s, err := poll.Take(c)
	if err != nil {
		c.Close()
		m.log.warn(addr, "take", "connection not usable", zap.String("node", string(name)), zap.Error(err))
		return nil
	}
	return m.install(peer, s)
}

// refuse counts and logs a hello that failed, on either side.
func (m *Mesh) refuse(addr string, name proto.NodeName, err error) {
	r := m.count(err)
	fields := []zap.Field{zap.String("address", addr), zap.Stringer("reason", r.Reason), zap.String("text", r.Text), zap.Bool("by_peer", r.Remote)}
	if name != "" {
		fields = append(fields, zap.String("node", string(name)))
	}
	if bug := (*panicked)(nil); errors.As(err, &bug) {
		fields = append(fields, zap.ByteString("stack", bug.stack))
	}
	m.log.warn(addr, r.Reason.String(), "link refused", fields...)
}

func (m *Mesh) count(err error) *Refusal {
	r := refusalOf(err)
	if r.Reason >= reasons {
		m.refused[ReasonNone].Add(1)
	} else {
		m.refused[r.Reason].Add(1)
	}
	return r
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
