package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/roomring/roomring/proto"
)

// maxStreams bounds the streams that others have open to us. Beyond it they are
// refused with ReasonBusy: a register has a handful per voter.
const maxStreams = 256

// streamAlive ends a stream whose other end has vanished, half a minute after
// its last byte. A stream has no heartbeat of its own.
var streamAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// DialStream opens a stream to target at addr: a connection of plain bytes for
// the register. The other end is that very run of that node, in our founding, or
// there is an error, a *Refusal when one side would not have the other. The dial
// takes at most 1 s and the hello 5 s; both end early with ctx. The conn is
// blocking, without deadlines, inside TLS if there is any. It belongs to the
// caller, who closes it; the Mesh closes it too when it stops.
func (m *Mesh) DialStream(ctx context.Context, target proto.NodeName, addr string) (net.Conn, error) {
	if target == "" {
		return nil, errors.New("dial stream: a stream needs a target")
	}
	c, err := m.dialStream(ctx, target, addr)
	if err != nil {
		return nil, fmt.Errorf("dial stream to %s: %w", target, err)
	}
	return c, nil
}

func (m *Mesh) dialStream(ctx context.Context, target proto.NodeName, addr string) (net.Conn, error) {
	raw, err := m.reach(ctx, addr, dialTime)
	if err != nil {
		return nil, err
	}
	s, err := m.streams.dialed(raw)
	if err != nil {
		raw.Close()
		return nil, err
	}
	c, _, err := run(ctx, raw, m.config(), true, func(x *exchange) (Peer, error) { return x.open(PurposeStream, target, 0) })
	if err != nil {
		s.Close()
		if ctx.Err() == nil {
			m.count(err)
		}
		return nil, err
	}
	return s.begin(c), nil
}

// reach dials, for so long at most.
func (m *Mesh) reach(ctx context.Context, addr string, within time.Duration) (net.Conn, error) {
	m.dials.Add(1)
	short, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := m.cfg.Dial(short, addr)
	if err != nil {
		m.dialFailures.Add(1)
	}
	return c, err
}

var errStopped = errors.New("this node's links have stopped")

// streams is the streams that are open or about to be.
type streams struct {
	mu       sync.Mutex
	open     map[*stream]struct{}
	accepted int // of these, opened by others
	ended    bool
}

// stream takes itself off the list when it is closed.
type stream struct {
	net.Conn // what bytes go through: raw, or TLS around it

	raw      net.Conn
	accepted bool
	of       *streams
}

// add makes room for a stream that was accepted, or says why there is none.
func (s *streams) add(raw net.Conn, self proto.NodeName) (*stream, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, refuse(ReasonBusy, "%s takes no more streams", self)
	}
	if s.accepted >= maxStreams {
		return nil, refuse(ReasonBusy, "%s has %d streams open already", self, s.accepted)
	}
	s.accepted++
	return s.put(&stream{Conn: raw, raw: raw, accepted: true, of: s}), nil
}

func (s *streams) dialed(raw net.Conn) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, errStopped
	}
	return s.put(&stream{Conn: raw, raw: raw, of: s}), nil
}

// put is called with mu held.
func (s *streams) put(x *stream) *stream {
	if s.open == nil {
		s.open = map[*stream]struct{}{}
	}
	s.open[x] = struct{}{}
	return x
}

// begin is called once the hello is over, with what it left of the connection.
func (x *stream) begin(c net.Conn) net.Conn {
	if t, ok := x.raw.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(streamAlive)
	}
	x.Conn = c
	return x
}

// Close closes the connection and gives its place free.
func (x *stream) Close() error {
	x.of.drop(x)
	return x.Conn.Close()
}

func (s *streams) drop(x *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[x]; !ok {
		return
	}
	delete(s.open, x)
	if x.accepted {
		s.accepted--
	}
}

// end closes all streams and lets no more be. It does not wait for what TLS
// would say at the end: whoever reads or writes there gets an error.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for x := range s.open {
		x.raw.Close()
	}
}

func (s *streams) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
