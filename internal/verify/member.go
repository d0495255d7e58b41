package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// member is one member of a room: a conn, and the next one when that closes.
type member struct {
	run    *run
	room   *room
	number int // within the room
	url    int // which of the run's is next

	socket *socket // guarded by the room's lock

	// Owned by the goroutine that reads.
	ended  int64 // when the last socket ended, 0 if none did
	now    int64 // when the present batch came
	begins []int64
	count  uint64
}

const (
	firstLimit = 15 * time.Second // for the first handshake of a member
	backLimit  = 5 * time.Second  // for each further one, until the next URL is tried
	firstBound = 15 * time.Second // after its first try failed, until a member that reconnects gives up
	firstPause = 50 * time.Millisecond
	longPause  = 2 * time.Second // between two tries
	maxSockets = 1<<16 - 1       // of one member
)

// live connects the member, follows it, and connects it again as the run wants, until ctx ends. tried is
// called when the first try, which may end earlier, has ended.
func (m *member) live(first, ctx context.Context, tried func()) {
	conn := m.first(first)
	if conn == nil {
		m.room.lost(m, true)
	}
	tried()
	for n := 1; conn != nil; n++ {
		reason := m.follow(conn)
		if m.run.closing.Load() {
			return
		}
		m.ended = m.run.now()
		e := endingOf(reason)
		again := m.run.cfg.Reconnect && n < maxSockets && !final(e)
		m.room.lost(m, !again)
		m.run.tally.closed(e, m.ended)
		if !again {
			return
		}
		conn = m.back(ctx)
	}
}

// final tells whether the server asks not to come back.
func final(e ending) bool { return e.code >= 4500 && e.code <= 4999 }

// first opens the first conn; nil when that fails.
func (m *member) first(ctx context.Context) *loadgen.Conn {
	conn, err := m.dial(ctx, "", firstLimit)
	if err != nil {
		m.run.dialFailed(err)
		if m.run.cfg.Reconnect {
			bound, cancel := context.WithTimeout(ctx, firstBound)
			defer cancel()
			conn = m.back(bound)
		}
	}
	if conn == nil {
		m.run.notOpened()
		return nil
	}
	m.run.opened.Add(1)
	return conn
}

// back opens a conn again; nil when ctx ends before.
func (m *member) back(ctx context.Context) *loadgen.Conn {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		if !sleep(ctx, pause/2+rand.N(pause/2)) { // chance, because all that one router had come at once
			return nil
		}
		conn, err := m.dial(ctx, m.room.position(m), backLimit)
		if err == nil {
			return conn
		}
		if ctx.Err() != nil {
			return nil
		}
		m.run.dialFailed(err)
	}
}

// sleep waits; false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// dial opens a conn at the member's next URL, when it is its turn.
func (m *member) dial(ctx context.Context, since string, limit time.Duration) (*loadgen.Conn, error) {
	select {
	case m.run.dialing <- struct{}{}:
		defer func() { <-m.run.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	url := address(m.run.cfg.URLs[m.url%len(m.run.cfg.URLs)], m.room.name, since)
	m.url++
	conn, err := m.run.dialer.Dial(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", url, err)
	}
	return conn, nil
}

// follow reads a conn until it ends, and returns why.
func (m *member) follow(conn *loadgen.Conn) error {
	s := newSocket(conn)
	if !m.room.joined(m, s) {
		conn.Close()
		return nil
	}
	m.run.conns.Add(1)
	m.run.writers.Go(s.write)
	err := conn.Read(m)
	s.end()
	conn.Abort()
	m.run.conns.Add(-1)
	return err
}

// Begin takes the room for all frames that one read brought.
func (m *member) Begin() {
	m.room.mu.Lock()
	m.now, m.begins, m.count = m.run.now(), *m.run.tally.begins.Load(), 0
}

// End lets go of it.
func (m *member) End() {
	m.room.mu.Unlock()
	if m.count > 0 {
		m.run.delivered.Add(m.count)
	}
}

// Ping answers.
func (m *member) Ping(payload []byte) error {
	m.socket.pong(payload)
	return nil
}

// Message takes in a line or a message.
func (m *member) Message(isBinary bool, frame []byte) {
	r := m.room
	if r.judged {
		return
	}
	offset, payload, ok := parseNumber(frame, isBinary)
	if !ok {
		m.line(isBinary, frame)
		return
	}
	sent, ok := r.judge.came(m.number, offset, payload, isBinary, m.now)
	if !ok {
		return
	}
	m.count++
	m.run.took(m.now - sent)
	r.delivered(m.begins, sent, m.now)
}

func (m *member) line(isBinary bool, frame []byte) {
	l, ok := parseLine(string(frame[:min(len(frame), maxLine)]))
	if !ok || isBinary {
		m.room.judge.malformed(m.number, m.now)
		return
	}
	if resumed, how := m.room.judge.heard(m.number, l, m.now); resumed {
		m.run.tally.back(m.ended, m.now, how)
	}
}

const maxLine = 64 // bytes; a longer one is none

// joined says that a member has a socket; false when the run is over.
func (r *room) joined(m *member, s *socket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.judged {
		return false
	}
	m.socket = s
	r.judge.opened(m.number)
	return true
}

// lost says that a member's socket ended, and whether it was the last.
func (r *room) lost(m *member, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.judged {
		r.judge.closed(m.number, last)
	}
}

// position is where a member resumes, "" when it has heard nothing yet.
func (r *room) position(m *member) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.judge.position(m.number)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s.%d", p.Epoch, p.Offset)
}

// endingOf puts why a socket ended into few words, so that like ones can be counted.
func endingOf(err error) ending {
	var c *loadgen.CloseError
	switch {
	case errors.As(err, &c):
		return ending{int(c.Code), printable(c.Reason)}
	case errors.Is(err, io.EOF):
		return ending{0, "ended without a close frame"}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ending{0, "connection reset"}
	case err == nil:
		return ending{0, "write failed"}
	}
	return ending{0, printable(err.Error())}
}

// maxText bounds a text from outside that is kept.
const maxText = 120

// printable makes a text from outside fit to show.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
