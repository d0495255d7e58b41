package hub

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// Some publishes are timed: until they are acknowledged, and until they come back
// as messages of their room. Such a one is sent with proto.TimedConn in the number
// of its conn, and comes back with it: so it is known among the messages of its
// conn, whatever was lost, refused or doubled meanwhile, and the others cost nothing.

const (
	// sampleEvery is of how many publishes one is timed, and sampleAfter how long
	// after the last one the next is timed in any case.
	sampleEvery = 64
	sampleAfter = int64(time.Second)
	// maxSamples bounds those under way. While there are as many, none begins.
	maxSamples = 64
)

// sample is a publish that is timed. A conn has one at most, so its next message
// with the mark is the one.
type sample struct {
	room      *room
	conn      uint64
	at        int64
	delivered bool
	settled   bool
}

// sample has a publish timed, if there is place for that.
func (h *Hub) sample(m *Member, t int64) bool {
	if len(h.samples) >= maxSamples || h.sampleOf(m.ID) >= 0 {
		return false
	}
	h.unsampled, h.sampleAt = 0, t+sampleAfter
	h.samples = append(h.samples, sample{room: m.room, conn: m.ID, at: t})
	return true
}

func (h *Hub) sampleOf(conn uint64) int {
	return slices.IndexFunc(h.samples, func(s sample) bool { return s.conn == conn })
}

// sampleDelivered takes the number of a conn off its mark, and counts the sample if
// there is one.
func (h *Hub) sampleDelivered(conn uint64) uint64 {
	conn &^= proto.TimedConn
	if i := h.sampleOf(conn); i >= 0 && !h.samples[i].delivered {
		h.samples[i].delivered = true
		h.stats.PublishToDeliver.Count(time.Duration(h.now - h.samples[i].at))
		h.endSample(i)
	}
	return conn
}

func (h *Hub) sampleSettled(conn uint64) {
	if i := h.sampleOf(conn); i >= 0 && !h.samples[i].settled {
		h.samples[i].settled = true
		h.stats.Acknowledge.Count(time.Duration(h.now - h.samples[i].at))
		h.endSample(i)
	}
}

// endSample ends a sample to which nothing more is to come.
func (h *Hub) endSample(i int) {
	if h.samples[i].delivered && h.samples[i].settled {
		h.samples = slices.Delete(h.samples, i, i+1)
	}
}

// dropSample ends that of a publish that was refused or given up.
func (h *Hub) dropSample(conn uint64) {
	h.dropSamples(func(s sample) bool { return s.conn == conn })
}

// dropOldSamples ends those that nothing ever came of: the message fell into a gap.
func (h *Hub) dropOldSamples(t int64) {
	old := t - 2*int64(h.cfg.PublishTimeout)
	h.dropSamples(func(s sample) bool { return s.at <= old })
}

func (h *Hub) dropSamples(which func(sample) bool) {
	if len(h.samples) > 0 {
		h.samples = slices.DeleteFunc(h.samples, which)
	}
}
