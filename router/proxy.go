package router

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/router/websocket"
)

// A conn from a trusted proxy begins with a PROXY header when Config.ProxyProtocol
// is set. Without TLS its lane reads it, like the request behind it. With TLS it
// stands in front of the TLS handshake, so a proxied reads it below that.

// proxyHeader reads what a proxy says first.
func (c *conn) proxyHeader(b []byte) int {
	h, n, err := websocket.ParseProxyHeader(b)
	switch {
	case err != nil:
		c.lane.router.badProxy(c.opening.peer, err)
		c.refuse(err)
		return len(b)
	case n == 0:
		return 0
	}
	c.opening.header, c.state = h, stateRequest
	if n == len(b) {
		return n
	}
	return n + c.request(b[n:])
}

// brokenBelow counts a conn that ended in front of its TLS handshake for the
// header that it had, or had not.
func (c *conn) brokenBelow(err error) {
	var refusal *websocket.HTTPError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &refusal):
	case errors.As(err, &noTLS) && websocket.BeginsProxied(noTLS.RecordHeader[:]):
		refusal = websocket.ErrProxyHeader
	default:
		return
	}
	c.lane.refused(refusal.Code)
	if c.opening != nil {
		c.lane.router.badProxy(c.opening.peer, refusal)
	}
}

// badProxy tells operators, now and then, what balancers hide from them.
func (r *Router) badProxy(peer netip.Addr, err *websocket.HTTPError) {
	r.badProxies.Do(func() {
		r.log.Warn("PROXY header refused", zap.Stringer("from", peer), zap.String("reason", err.Message))
	})
}

// badProxyEvery is how often badProxy may.
const badProxyEvery = 10 * time.Second

// proxyListener has the conns of trusted proxies begin with a PROXY header.
type proxyListener struct {
	net.Listener
	trusted []netip.Prefix
}

// Accept does not wait for the header: the first Read of the conn does.
func (l proxyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || !websocket.Trusted(hostOf(c), l.trusted) {
		return c, err
	}
	return &proxied{Conn: c}, nil
}

func hostOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// proxied is a connection whose reader sees what stands behind the PROXY header.
type proxied struct {
	net.Conn

	// Owned by the reader. The header may be read by who was given bytes that
	// the reader read.
	header websocket.ProxyHeader
	whole  bool   // header is set
	rest   []byte // read, and not handed over: part of the header, or what came behind it
}

// Read reads the header first. Its error is a *websocket.HTTPError when there is
// none, or a malformed one.
func (p *proxied) Read(b []byte) (int, error) {
	for !p.whole {
		if err := p.readHeader(); err != nil {
			return 0, err
		}
	}
	if len(p.rest) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.rest)
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.rest = nil
	}
	return n, nil
}

// readHeader reads once, and the header if it is whole then.
func (p *proxied) readHeader() error {
	var some [512]byte // most headers, and the client's first words
	got, err := p.Conn.Read(some[:])
	p.rest = append(p.rest, some[:got]...)
	h, n, refusal := websocket.ParseProxyHeader(p.rest)
	switch {
	case refusal != nil:
		return refusal
	case n > 0:
		p.header, p.whole, p.rest = h, true, p.rest[n:]
		return nil
	}
	return err
}

// headerBelow returns what a proxy said in front of a socket's TLS, once the
// socket has brought bytes.
func headerBelow(s poll.Socket) *proxied {
	t, ok := s.NetConn().(*tls.Conn)
	if !ok {
		return nil
	}
	p, _ := t.NetConn().(*proxied)
	return p
}
