package register

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// maxInbound is how many streams may wait for raft to take them; more are closed.
const maxInbound = 32

// streams is raft's stream layer: it dials other voters by name and is given what they dialled. It
// knows every stream, because raft forgets some of them: once cut returns, no byte leaves any more.
type streams struct {
	// Set by newStreams, then only read.
	voter    proto.NodeName // our own
	founding proto.Founding
	dialer   cluster.Streams
	inbound  chan net.Conn
	ctx      context.Context // ends with cut
	cancel   context.CancelFunc
	handlers sync.WaitGroup // one per inbound stream that raft has not closed

	mu   sync.Mutex
	open map[*stream]struct{} // nil after cut
}

func newStreams(voter proto.NodeName, founding proto.Founding, dialer cluster.Streams) *streams {
	s := &streams{voter: voter, founding: founding, dialer: dialer, inbound: make(chan net.Conn, maxInbound), open: make(map[*stream]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// stream is a connection that streams can end.
type stream struct {
	net.Conn
	of      *streams
	inbound bool
	once    sync.Once
}

// Close ends the stream. The handler of an inbound one calls it as the last thing that it does.
func (c *stream) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.of.forget(c) })
	return err
}

// deliver hands raft a stream that somebody else dialled.
func (s *streams) deliver(c net.Conn) {
	in := s.track(c, true)
	if in == nil {
		return
	}
	select {
	case s.inbound <- in:
	default:
		in.Close()
	}
}

// track returns the stream, or nil when it came after cut: it is closed then.
func (s *streams) track(c net.Conn, inbound bool) *stream {
	t := &stream{Conn: c, of: s, inbound: inbound}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		c.Close()
		return nil
	}
	if inbound {
		s.handlers.Add(1)
	}
	s.open[t] = struct{}{}
	return t
}

func (s *streams) forget(c *stream) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	if c.inbound {
		s.handlers.Done()
	}
}

// cut closes all streams, and lets no new ones in or out.
func (s *streams) cut() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Conn.Close()
	}
	s.open = nil
}

// wait returns when no handler of an inbound stream is left. raft's transport must be closed.
func (s *streams) wait() {
	for {
		select {
		case c := <-s.inbound: // nobody took it
			c.Close()
			continue
		default:
		}
		break
	}
	s.handlers.Wait()
}

// Dial implements raft.StreamLayer. Addresses are the names of voters; our own leads back here.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if address == raft.ServerAddress(s.voter) {
		near, far := net.Pipe()
		s.deliver(far)
		return s.tracked(near)
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	c, err := s.dialer.Dial(ctx, proto.NodeName(address), s.founding)
	if err != nil {
		return nil, err
	}
	return s.tracked(c)
}

func (s *streams) tracked(c net.Conn) (net.Conn, error) {
	if t := s.track(c, false); t != nil {
		return t, nil
	}
	return nil, net.ErrClosed
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.inbound:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *streams) Close() error {
	s.cut()
	return nil
}

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return address(s.voter) }

// address is a voter's name where raft wants a net.Addr.
type address proto.NodeName

func (address) Network() string  { return "raft" }
func (a address) String() string { return string(a) }
