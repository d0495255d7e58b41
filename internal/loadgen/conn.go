package loadgen

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

const (
	dialTimeout = 15 * time.Second
	firstBuffer = 2 << 10 // per conn: most of 10,000 conns are idle most of the time
	wideBuffer  = 64 << 10
)

// Conn is a client's WebSocket. One goroutine reads, any may write.
type Conn struct {
	conn    net.Conn
	mask    [4]byte
	closing atomic.Bool

	writing sync.Mutex // guards writes to conn

	// Owned by Read.
	in     []byte // what came with the handshake
	frag   []byte // the parts so far of a fragmented message
	binary bool   // that message
}

// Receiver is told what comes, from the goroutine that reads. A payload is valid until the call returns.
type Receiver interface {
	// Begin and End stand around what one read brought.
	Begin()
	End()

	Message(binary bool, payload []byte)

	// Ping asks for a pong with that payload. An error ends the reading.
	Ping(payload []byte) error
}

// CloseError is a close frame from the server.
type CloseError struct {
	Code   uint16 // 0 when it named none
	Reason string
}

func (e *CloseError) Error() string {
	if e.Code == 0 {
		return "closed by the server without a code"
	}
	return fmt.Sprintf("closed by the server with %d %q", e.Code, e.Reason)
}

// Dialer opens conns.
type Dialer struct {
	// TLS is used for wss://. If nil, the system's roots.
	TLS *tls.Config

	// Mask is that of all frames to the server. One is as good as another: a mask hides nothing here, and
	// the server has the same work with it.
	Mask [4]byte

	// Net connects. If nil, the system does.
	Net func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial opens a WebSocket within 15 seconds, or until ctx ends.
func (d Dialer) Dial(ctx context.Context, url string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := ws.Dialer{TLSConfig: d.TLS, NetDial: d.Net, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10}
	conn, buffered, _, err := dialer.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: conn, mask: d.Mask}
	if buffered != nil {
		head, _ := buffered.Peek(buffered.Buffered()) // what is buffered can be peeked
		c.in = bytes.Clone(head)
		ws.PutReader(buffered)
	}
	return c, nil
}

// Read hands what the server sends to r until the conn ends. It returns why, nil when Close was called.
func (c *Conn) Read(r Receiver) error {
	buf := make([]byte, max(firstBuffer, len(c.in)))
	have := copy(buf, c.in)
	c.in = nil
	for {
		used, need, err := c.consume(r, buf[:have])
		if err != nil {
			return err
		}
		have = copy(buf, buf[used:have])
		buf = roomier(buf, have, need)
		n, err := c.conn.Read(buf[have:])
		if err != nil {
			if c.closing.Load() {
				return nil
			}
			return fmt.Errorf("read: %w", err)
		}
		have += n
		if have == len(buf) && have < wideBuffer {
			buf = append(buf, make([]byte, len(buf))...) // a busy conn: fewer, larger reads
		}
	}
}

func roomier(buf []byte, have, need int) []byte {
	if need <= len(buf) {
		return buf
	}
	wider := make([]byte, need+firstBuffer)
	copy(wider, buf[:have])
	return wider
}

// consume handles the whole frames in b. It returns how many bytes they were, and how many the next
// frame needs.
func (c *Conn) consume(r Receiver, b []byte) (used, need int, err error) {
	r.Begin()
	defer r.End()
	for {
		f, size, need, err := parseFrame(b[used:])
		if err != nil || size == 0 {
			return used, need, err
		}
		used += size
		if err := c.frame(r, f); err != nil {
			return used, 0, err
		}
	}
}

// frame handles control frames and joins fragments.
func (c *Conn) frame(r Receiver, f frame) error {
	switch f.op {
	case ws.OpPing:
		return r.Ping(f.payload)
	case ws.OpPong:
		return nil
	case ws.OpClose:
		if c.closing.Load() {
			return io.EOF
		}
		return closedBy(f.payload)
	case ws.OpText, ws.OpBinary:
		if f.fin {
			r.Message(f.op == ws.OpBinary, f.payload)
			return nil
		}
		c.binary, c.frag = f.op == ws.OpBinary, append(c.frag[:0], f.payload...)
		return nil
	case ws.OpContinuation:
		if len(c.frag)+len(f.payload) > maxFrame {
			return fmt.Errorf("a message of more than %d bytes from the server", maxFrame)
		}
		c.frag = append(c.frag, f.payload...)
		if f.fin {
			r.Message(c.binary, c.frag)
		}
		return nil
	}
	return fmt.Errorf("opcode %d from the server", f.op)
}

func closedBy(body []byte) error {
	if len(body) < 2 {
		return &CloseError{}
	}
	return &CloseError{Code: binary.BigEndian.Uint16(body), Reason: string(body[2:])}
}

// AppendMessage appends the frame of a message.
func (c *Conn) AppendMessage(b []byte, binary bool, payload []byte) []byte {
	if binary {
		return appendFrame(b, ws.OpBinary, c.mask, payload)
	}
	return appendFrame(b, ws.OpText, c.mask, payload)
}

// AppendPong appends the frame that answers a ping.
func (c *Conn) AppendPong(b, payload []byte) []byte {
	return appendFrame(b, ws.OpPong, c.mask, payload)
}

// Write sends frames. It fails when the server has not taken them within patience; 0 waits until the
// conn ends.
func (c *Conn) Write(b []byte, patience time.Duration) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if patience > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// Close says goodbye, as far as the server listens, and ends the conn.
func (c *Conn) Close() {
	c.closing.Store(true)
	c.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // best effort
	c.conn.Write(appendFrame(nil, ws.OpClose, c.mask, []byte{1000 >> 8, 1000 & 0xff}))
	c.conn.Close()
}

// Abort ends the conn without a word.
func (c *Conn) Abort() { c.conn.Close() }
