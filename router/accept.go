package router

import (
	"net/netip"

	"golang.org/x/time/rate"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/router/websocket"
)

// accept begins a conn: a socket that has said nothing yet.
func (l *lane) accept(s poll.Socket) {
	r := l.router
	l.counters.Accepted++
	if int(r.conns.Load()) >= r.cfg.MaxConns+reserve()/4 {
		// There are no descriptors to wait for what it asks for. Most of the reserve is for others: a small
		// router with few links has more than thirty descriptors of its own.
		l.refused(websocket.ErrFull.Code)
		s.CloseWith(websocket.AppendError(nil, websocket.ErrFull))
		return
	}
	c := &conn{lane: l, state: stateRequest, opening: &opening{peer: s.RemoteAddr().Addr()}}
	if r.cfg.ProxyProtocol && websocket.Trusted(c.opening.peer, r.cfg.TrustedProxies) {
		if c.opening.below = headerBelow(s); c.opening.below == nil {
			c.state = stateProxy
		}
	}
	c.opening.full = int(r.conns.Add(1)) > r.cfg.MaxConns
	if err := l.loop.Open(&c.sock, s, c); err != nil {
		r.conns.Add(-1)
		s.Close()
		return
	}
	c.sock.Sip()
	l.add(c)
	l.wheel.set(c, r.cfg.HandshakeTime)
}

func (l *lane) add(c *conn) {
	c.lane = l
	c.place = int32(len(l.conns))
	l.conns = append(l.conns, c)
	l.counters.Conns++
}

func (l *lane) remove(c *conn) {
	last := l.conns[len(l.conns)-1]
	l.conns[c.place], last.place = last, c.place
	l.conns[len(l.conns)-1] = nil
	l.conns = l.conns[:len(l.conns)-1]
	l.counters.Conns--
	c.due = 0
}

// address is what is counted of one client address.
type address struct {
	conns   int
	accepts *rate.Limiter
}

// maxAddresses is how many addresses are remembered before those without a conn
// are dropped, and with them what they did in the last second.
const maxAddresses = 1 << 16

// enter counts a conn of ip in, or says why not.
func (a *addresses) enter(ip netip.Addr) *websocket.HTTPError {
	if !a.limited() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := ip
	if a.seen == nil {
		a.seen = map[netip.Addr]*address{}
	}
	e := a.seen[key]
	if e == nil {
		a.makeRoom()
		e = &address{}
		if a.rate > 0 {
			e.accepts = rate.NewLimiter(rate.Limit(a.rate), a.rate)
		}
		a.seen[key] = e
	}
	if a.limit > 0 && e.conns >= a.limit || e.accepts != nil && !e.accepts.Allow() {
		return websocket.ErrRateLimited
	}
	e.conns++
	return nil
}

// makeRoom drops addresses without a conn, each time that their number may have
// doubled: so it costs the same per address however many have conns.
func (a *addresses) makeRoom() {
	if len(a.seen) < max(a.crowd, maxAddresses) {
		return
	}
	for ip, e := range a.seen {
		if e.conns == 0 {
			delete(a.seen, ip)
		}
	}
	a.crowd = 2 * len(a.seen)
}

// leave counts a conn of ip out that enter let in.
func (a *addresses) leave(ip netip.Addr) {
	if !a.limited() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.seen[ip]; e != nil {
		if e.conns--; e.conns == 0 && e.accepts == nil {
			delete(a.seen, ip)
		}
	}
}

func (a *addresses) limited() bool { return a.limit > 0 || a.rate > 0 }
