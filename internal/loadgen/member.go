package loadgen

import (
	"strings"
	"sync/atomic"
	"time"
)

const writeTimeout = 15 * time.Second

// member is one conn in one room.
type member struct {
	run  *run
	room *room
	pub  int // place among the room's publishers, -1 for a listener
	url  string
	conn *Conn

	sent atomic.Uint32 // last number published
	gone atomic.Bool   // the conn has ended

	out []byte // owned by the room's publishing goroutine

	// Owned by the reading goroutine; read by others when it has ended.
	from      []tracker // one per publisher of the room
	seen      uint64    // hash over the order of what came
	left      bool      // the conn ended before we closed it
	now       int64     // when the present batch came
	delivered int       // messages in it
}

// Begin notes the time for all messages that one read brought.
func (m *member) Begin() { m.now, m.delivered = m.run.now(), 0 }

// End tells the room.
func (m *member) End() { m.room.delivered(m.delivered) }

// Ping answers.
func (m *member) Ping(payload []byte) error {
	return m.conn.Write(m.conn.AppendPong(nil, payload), writeTimeout)
}

// Message records one message.
func (m *member) Message(_ bool, payload []byte) {
	if m.deliver(payload, m.now) {
		m.delivered++
	}
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
		m.run.latency[m.room.id%len(m.run.latency)].Add(now - s.at)
	}
	return true
}

func urlFor(template, room string) string { return strings.ReplaceAll(template, "{room}", room) }
