package cluster

import (
	"context"
	"log"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// dialWithin bounds a connect, which the host answers without the node. Seeds are tried one after the other:
// those that a split hides must not keep us from the one that is back.
const dialWithin = 500 * time.Millisecond

// transport is memberlist's own, except that what it dialed is closed when ctx ends: a node that
// stops does not wait for one that never answers.
type transport struct {
	*memberlist.NetTransport
	ctx context.Context
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen binds packets and streams to the same port. For port 0 the kernel picks one for streams
// that somebody may have taken for packets; then another one is tried.
func listen(ctx context.Context, host string, port int, logger *log.Logger) (*transport, error) {
	tries := 1
	if port == 0 {
		tries = 10
	}
	var err error
	for range tries {
		var t *memberlist.NetTransport
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{host},
			BindPort:  port,
			Logger:    logger,
		})
		if err == nil {
			return &transport{t, ctx}, nil
		}
	}
	return nil, err
}

// DialTimeout opens a stream.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: min(timeout, dialWithin)}
	conn, err := dialer.DialContext(t.ctx, "tcp", address)
	if err != nil {
		return nil, err // as it is: memberlist looks at its type
	}
	return &stream{conn, context.AfterFunc(t.ctx, func() { conn.Close() })}, nil
}

// DialAddressTimeout opens a stream; the address is enough to find the node.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// stream is a conn that forgets about the transport's ctx when it is closed.
type stream struct {
	net.Conn
	release func() bool
}

func (s *stream) Close() error {
	s.release()
	return s.Conn.Close()
}
