package link

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/poll"
)

const (
	// maxHellos bounds the hellos under way on the accepting side. The next one
	// ends the oldest: an honest hello takes milliseconds, so the oldest is the
	// least likely to be one.
	maxHellos = 64

	acceptMin = 5 * time.Millisecond
	acceptMax = time.Second
)

// Serve accepts links, streams and probes from ln until ctx ends, and returns
// its error, or until ln fails for good. It closes ln. When it returns, no hello
// is under way any more; links and streams stay.
func (m *Mesh) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	var under sync.WaitGroup
	defer func() {
		stop()
		ln.Close()
		cancel()
		under.Wait()
	}()
	wait := acceptMin
	for {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return context.Cause(ctx)
		case err == nil:
			wait = acceptMin
			m.hellos.add(c)
			under.Go(func() { m.accept(ctx, c) })
		case temporary(err):
			m.log.warn("", "accept", "accept failed", zap.Error(err))
			pause(ctx, wait)
			wait = min(2*wait, acceptMax)
		default:
			return fmt.Errorf("accept links: %w", err)
		}
	}
}

// temporary: descriptors or memory are exhausted, or the caller hung up before
// we came to accept it.
func temporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}

func (m *Mesh) accept(ctx context.Context, raw net.Conn) {
	from := hostOf(raw.RemoteAddr())
	var str *stream
	welcomed := false
	c, peer, err := run(ctx, raw, m.config(), false, func(x *exchange) (Peer, error) {
		return x.accept(func(p *Peer) (r *Refusal) {
			// From here on no flood ends it: who reads a Welcome relies on it.
			if welcomed = m.hellos.remove(raw); !welcomed {
				return tooManyHellos()
			}
			if p.Purpose == PurposeStream {
				str, r = m.streams.add(raw, m.cfg.Self)
			}
			return r
		})
	})
	if !welcomed && !m.hellos.remove(raw) && err != nil {
		err = tooManyHellos()
	}
	if err != nil {
		if str != nil {
			str.Close()
		}
		if ctx.Err() == nil {
			m.refuse(from, "", err)
		}
		return
	}
	switch peer.Purpose {
	case PurposeFrames:
		m.acceptLink(ctx, c, peer, from)
	case PurposeStream:
		m.cfg.Stream(str.begin(c), peer)
	case PurposeProbe:
		c.Close()
	}
}

func (m *Mesh) acceptLink(ctx context.Context, c net.Conn, peer Peer, from string) {
	s, err := poll.Take(c)
	if err != nil {
		c.Close()
		m.log.warn(from, "take", "connection not usable", zap.String("node", string(peer.Name)), zap.Error(err))
		return
	}
	if m.install(peer, s) == nil && ctx.Err() == nil {
		m.refuse(from, peer.Name, refuse(ReasonBusy, "%s takes no more links", m.cfg.Self))
	}
}

func tooManyHellos() *Refusal {
	return refuse(ReasonBusy, "more than %d hellos at once", maxHellos)
}

func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}

// hellos is the connections whose hello is under way, oldest first.
type hellos struct {
	mu    sync.Mutex
	conns []net.Conn
}

// add closes the oldest when there are too many.
func (h *hellos) add(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conns) >= maxHellos {
		h.conns[0].Close()
		h.conns = slices.Delete(h.conns, 0, 1)
	}
	h.conns = append(h.conns, c)
}

// remove is false when add has closed c.
func (h *hellos) remove(c net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.conns, c)
	if i < 0 {
		return false
	}
	h.conns = slices.Delete(h.conns, i, i+1)
	return true
}

func (h *hellos) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

const (
	logEvery = 10 * time.Second
	logKeys  = 1024
)

// limitedLog writes a line per (address, subject) at most every 10 s: a node
// with a wrong key dials for ever. Beyond 1024 different ones in that time it
// is silent; the counters are not.
type limitedLog struct {
	to *zap.Logger

	mu   sync.Mutex
	last map[[2]string]time.Time
}

func newLimitedLog(to *zap.Logger) *limitedLog {
	return &limitedLog{to: to, last: map[[2]string]time.Time{}}
}

func (l *limitedLog) warn(addr, subject, message string, fields ...zap.Field) {
	if l.due([2]string{addr, subject}, time.Now()) {
		l.to.Warn(message, fields...)
	}
}

func (l *limitedLog) due(key [2]string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.last[key]; ok && now.Sub(t) < logEvery {
		return false
	}
	if len(l.last) >= logKeys {
		for k, t := range l.last {
			if now.Sub(t) >= logEvery {
				delete(l.last, k)
			}
		}
		if len(l.last) >= logKeys {
			return false
		}
	}
	l.last[key] = now
	return true
}
