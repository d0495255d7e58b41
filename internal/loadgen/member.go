package loadgen

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

const (
	dialTimeout  = 15 * time.Second
	writeTimeout = 15 * time.Second
	firstBuffer  = 2 << 10 // per conn: most of 10,000 conns are idle most of the time
	wideBuffer   = 64 << 10
)

// member is one conn in one room.
type member struct {
	run  *run
	room *room
	pub  int // place among the room's publishers, -1 for a listener
	url  string
	conn net.Conn

	sent atomic.Uint32 // last number published
	gone atomic.Bool   // the conn has ended

	writing sync.Mutex // guards writes to conn
	mask    [4]byte
	out     []byte // owned by the room's publishing goroutine

	// Owned by the reading goroutine; read by others when it has ended.
	in   []byte    // what came with the handshake
	frag []byte    // the parts so far of a fragmented message
	from []tracker // one per publisher of the room
	seen uint64    // hash over the order of what came
	left bool      // the conn ended before we closed it
}

// dial opens the conn. What the server sent right behind the handshake stays in m.in.
func (m *member) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := ws.Dialer{TLSConfig: m.run.cfg.TLS, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10}
	conn, buffered, _, err := dialer.Dial(ctx, m.url)
	if err != nil {
		return err
	}
	m.conn = conn
	if buffered != nil {
		head, _ := buffered.Peek(buffered.Buffered()) // what is buffered can be peeked
		m.in = bytes.Clone(head)
		ws.PutReader(buffered)
	}
	return nil
}

// read handles what the server sends until the conn ends. It returns why, nil when we closed it.
func (m *member) read() error {
	defer m.gone.Store(true)
	buf := make([]byte, max(firstBuffer, len(m.in)))
	have := copy(buf, m.in)
	m.in = nil
	for {
		used, need, err := m.consume(buf[:have])
		if err != nil {
			return err
		}
		have = copy(buf, buf[used:have])
		buf = roomier(buf, have, need)
		n, err := m.conn.Read(buf[have:])
		if err != nil {
			if m.run.closing.Load() {
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
func (m *member) consume(b []byte) (used, need int, err error) {
	now, delivered := m.run.now(), 0
	defer func() { m.room.delivered(delivered) }()
	for {
		f, size, need, err := parseFrame(b[used:])
		if err != nil || size == 0 {
			return used, need, err
		}
		used += size
		payload, whole, err := m.assemble(f)
		if err != nil {
			return used, 0, err
		}
		if whole && m.deliver(payload, now) {
			delivered++
		}
	}
}

// assemble answers control frames and joins fragments.
func (m *member) assemble(f frame) (payload []byte, whole bool, err error) {
	switch f.op {
	case ws.OpPing:
		return nil, false, m.write(appendFrame(nil, ws.OpPong, m.mask, f.payload))
	case ws.OpPong:
		return nil, false, nil
	case ws.OpClose:
		if m.run.closing.Load() {
			return nil, false, io.EOF
		}
		return nil, false, closedBy(f.payload)
	case ws.OpText, ws.OpBinary:
		if f.fin {
			return f.payload, true, nil
		}
		m.frag = append(m.frag[:0], f.payload...)
		return nil, false, nil
	case ws.OpContinuation:
		if len(m.frag)+len(f.payload) > maxFrame {
			return nil, false, fmt.Errorf("a message of more than %d bytes from the server", maxFrame)
		}
		m.frag = append(m.frag, f.payload...)
		return m.frag, f.fin, nil
	}
	return nil, false, fmt.Errorf("opcode %d from the server", f.op)
}

func closedBy(body []byte) error {
	if len(body) < 2 {
		return fmt.Errorf("closed by the server without a code")
	}
	return fmt.Errorf("closed by the server with %d %q", binary.BigEndian.Uint16(body), body[2:])
}

// deliver records one message. It returns whether it is one that the room waits for.
func (m *member) deliver(payload []byte, now int64) bool {
	s, ok := readStamp(payload)
	if !ok || s.run != m.run.id || s.room != uint32(m.room.id) || int(s.pub) >= len(m.from) {
		m.run.foreign.Add(1)
		return false
	}
	switch m.from[s.pub].saw(s.seq) {
	case doubled:
		m.run.doubled.Add(1)
		return false
	case reordered:
		m.run.reordered.Add(1)
	case absurd:
		m.run.foreign.Add(1)
		return false
	}
	m.seen = (m.seen ^ (uint64(s.pub)<<32 | uint64(s.seq))) * 0x9e3779b97f4a7c15
	if p := m.run.cfg.Pauses; p != nil {
		p.rooms[m.room.id].add(m.run.began.UnixNano()+s.at, now-s.at)
	}
	if s.at >= m.run.measureFrom.Load() && s.at < m.run.measureTo.Load() {
		m.run.latency[m.room.id%len(m.run.latency)].add(now - s.at)
	}
	return true
}

// write sends b, or fails when the server takes nothing for long.
func (m *member) write(b []byte) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if err := m.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := m.conn.Write(b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// close says goodbye, as far as the server listens, and ends the conn.
func (m *member) close() {
	if m.conn == nil {
		return
	}
	m.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // best effort
	m.conn.Write(appendFrame(nil, ws.OpClose, m.mask, []byte{1000 >> 8, 1000 & 0xff}))
	m.conn.Close()
}

func urlFor(template, room string) string { return strings.ReplaceAll(template, "{room}", room) }
