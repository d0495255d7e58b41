package verify

import (
	"sync"

	"github.com/roomring/roomring/internal/loadgen"
)

// socket is an open conn of a member. What is to be sent waits in its buffer, so that a router that
// takes nothing holds up nobody else.
type socket struct {
	conn *loadgen.Conn

	mu    sync.Mutex // guards what is below
	wake  sync.Cond
	out   []byte
	ended bool
}

// maxOut bounds what waits in a socket's buffer, beyond the first message.
const maxOut = 256 << 10

func newSocket(conn *loadgen.Conn) *socket {
	s := &socket{conn: conn}
	s.wake.L = &s.mu
	return s
}

// full tells whether the socket takes no message now.
func (s *socket) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended || len(s.out) > maxOut
}

// send puts a message into the buffer.
func (s *socket) send(isBinary bool, payload []byte) {
	s.mu.Lock()
	s.out = s.conn.AppendMessage(s.out, isBinary, payload)
	s.mu.Unlock()
	s.wake.Signal()
}

// pong answers a ping.
func (s *socket) pong(payload []byte) {
	s.mu.Lock()
	s.out = s.conn.AppendPong(s.out, payload)
	s.mu.Unlock()
	s.wake.Signal()
}

// write writes what is in the buffer until the socket ends.
func (s *socket) write() {
	var spare []byte
	for {
		s.mu.Lock()
		for len(s.out) == 0 && !s.ended {
			s.wake.Wait()
		}
		if s.ended {
			s.mu.Unlock()
			return
		}
		spare, s.out = s.out, spare[:0]
		s.mu.Unlock()
		if s.conn.Write(spare, 0) != nil {
			return // the reader says why: perhaps a close frame came before
		}
		if cap(spare) > 2*maxOut {
			spare = nil
		}
	}
}

// end stops write.
func (s *socket) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wake.Signal()
}
