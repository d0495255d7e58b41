// Package memnet is a network in memory, for tests. Its connections behave
// like TCP where it matters to us: bounded buffers (so a reader that stalls
// stops its writer), deadlines, half-close, resets; and the network between two
// hosts can be slowed, cut, healed and broken. There are no sockets and no
// goroutines, and all waiting is on channels and timers, so an hour costs
// nothing inside a testing/synctest bubble.
//
// It is not a simulation: the order in which goroutines run is Go's own, so
// what must replay exactly belongs to internal/sim. There is no loss within a
// connection, as there is none in TCP; a network that loses everything is Cut.
//
// Reading order: network.go (hosts and what can be done to them), listener.go,
// conn.go (one side of a connection), pipe.go (one direction of it).
package memnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Network is a set of hosts that reach each other. A host exists by being
// named, by its IP address. All methods may be called from any goroutine.
type Network struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*Listener
	routes    map[direction]*route
	port      uint16 // last one given to a dialler, or to a listener on port 0
}

// A direction is from one host to another.
type direction struct{ from, to netip.Addr }

// A route is the state of the network in one direction.
type route struct {
	delay atomic.Int64 // nanoseconds
	cut   atomic.Bool

	// Guarded by Network.mu.
	pipes map[*pipe]struct{} // to wake when the route changes
	dials chan struct{}      // closed and replaced when the route changes
}

// firstPort is where the ports of diallers start, as they do in the kernel.
const firstPort = 49152

// New returns a network without delay, on which nobody listens.
func New() *Network {
	return &Network{listeners: map[netip.AddrPort]*Listener{}, routes: map[direction]*route{}, port: firstPort - 1}
}

// Listen listens on addr ("10.0.0.1:7400"; port 0 is a free one).
func (n *Network) Listen(addr string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), n.freePort(at.Addr()))
	}
	if n.listeners[at] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: syscall.EADDRINUSE}
	}
	l := newListener(n, at)
	n.listeners[at] = l
	return l, nil
}

// DialContext connects to addr from 127.0.0.1.
func (n *Network) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	return Host{network: n, addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}.DialContext(ctx, addr)
}

// Host returns the host with this IP address, to dial from. It panics when ip
// is none: a mistake in a test.
func (n *Network) Host(ip string) Host { return Host{network: n, addr: netip.MustParseAddr(ip)} }

// Host is where a dialler is.
type Host struct {
	network *Network
	addr    netip.Addr
}

// DialContext connects to addr. It is refused when nobody listens there. It
// takes a round trip, and waits while the network is cut in either direction
// or the listener's backlog is full, until ctx ends.
func (h Host) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	n := h.network
	if err := n.cross(ctx, h.addr, to.Addr()); err != nil {
		return fail(err)
	}
	n.mu.Lock()
	l := n.listeners[to]
	if l == nil {
		n.mu.Unlock()
		return fail(syscall.ECONNREFUSED)
	}
	near, far := n.connect(netip.AddrPortFrom(h.addr, n.freePort(h.addr)), to)
	n.mu.Unlock()
	if err := l.offer(ctx, far); err != nil {
		near.Reset()
		return fail(err)
	}
	if err := n.cross(ctx, to.Addr(), h.addr); err != nil {
		near.Reset()
		return fail(err)
	}
	return near, nil
}

// cross waits as long as a packet from one host to another takes.
func (n *Network) cross(ctx context.Context, from, to netip.Addr) error {
	for {
		n.mu.Lock()
		r := n.route(from, to)
		changed := r.dials
		n.mu.Unlock()
		delay := time.Duration(r.delay.Load())
		if !r.cut.Load() && delay == 0 {
			return ctx.Err()
		}
		var arrived <-chan time.Time
		if !r.cut.Load() {
			t := time.NewTimer(delay)
			defer t.Stop()
			arrived = t.C
		}
		select {
		case <-arrived:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Delay makes every byte from one host to another take d, and connecting too.
// What is on its way already is not affected.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.change(from, to, func(r *route) { r.delay.Store(int64(d)) })
}

// Cut makes the network in one direction silent: what is sent is held, as far
// as buffers reach, and connecting waits. Nobody sees an error.
func (n *Network) Cut(from, to string) {
	n.change(from, to, func(r *route) { r.cut.Store(true) })
}

// Heal ends a Cut: what was held arrives.
func (n *Network) Heal(from, to string) {
	n.change(from, to, func(r *route) { r.cut.Store(false) })
}

// Break resets every connection between two hosts, whoever dialled: both sides
// see ECONNRESET at once, a cut or a delay notwithstanding, and what was on its
// way is lost. New connections are not affected.
func (n *Network) Break(a, b string) {
	x, y := netip.MustParseAddr(a), netip.MustParseAddr(b)
	n.mu.Lock()
	var broken []*Conn
	for p := range n.route(x, y).pipes {
		broken = append(broken, p.writer)
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.Reset()
	}
}

// change changes a route and wakes who waits on it.
func (n *Network) change(from, to string, f func(*route)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.route(netip.MustParseAddr(from), netip.MustParseAddr(to))
	f(r)
	close(r.dials)
	r.dials = make(chan struct{})
	for p := range r.pipes {
		p.notify()
		p.writer.in.notify() // its writer hears of a closed reader over this route
	}
}

// route returns the route between two hosts. mu is held.
func (n *Network) route(from, to netip.Addr) *route {
	d := direction{from, to}
	r := n.routes[d]
	if r == nil {
		r = &route{pipes: map[*pipe]struct{}{}, dials: make(chan struct{})}
		n.routes[d] = r
	}
	return r
}

// freePort returns a port nobody listens on. It comes round after 16,384 of
// them, which no test has open at one host at once. mu is held.
func (n *Network) freePort(host netip.Addr) uint16 {
	for {
		if n.port++; n.port < firstPort {
			n.port = firstPort
		}
		if n.listeners[netip.AddrPortFrom(host, n.port)] == nil {
			return n.port
		}
	}
}

// connect returns the two sides of a new connection. mu is held.
func (n *Network) connect(a, b netip.AddrPort) (near, far *Conn) {
	there, back := n.route(a.Addr(), b.Addr()), n.route(b.Addr(), a.Addr())
	near = &Conn{network: n, local: a, remote: b}
	far = &Conn{network: n, local: b, remote: a, peer: near}
	near.peer = far
	near.out, far.out = newPipe(there, near), newPipe(back, far)
	near.in, far.in = far.out, near.out
	there.pipes[near.out] = struct{}{}
	back.pipes[far.out] = struct{}{}
	return near, far
}

// forget drops a connection that both sides have done with.
func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(c.out.route.pipes, c.out)
	delete(c.in.route.pipes, c.in)
}
