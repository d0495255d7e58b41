package hub

import (
	"slices"
	"time"

	"github.com/roomring/roomring/internal/latency"
	"github.com/roomring/roomring/internal/spare"
	"github.com/roomring/roomring/proto"
)

// Hub is the state of one lane. It belongs to that lane's goroutine.
type Hub struct {
	// Set by New, then only read.
	cfg  Config
	sink Sink

	// Time: nanoseconds since the first call.
	start     time.Time
	now       int64
	swept     int64 // when old tails were last looked for
	announced int64 // when member counts last went out
	tidied    int64 // when spare things were last looked through

	rooms   map[string]*room
	members int          // that joined
	parts   []*partition // by number / Lanes; nil until it has a row or a room
	peers   map[proto.NodeName]*peer

	// Work of this turn.
	dirty  []*room   // have bytes that live members have not
	ready  []*Member // lagging, and their socket takes more
	doomed []*room   // nobody is in them
	active []*outbox // links with something to send; may hold some without

	// Work in time.
	joining []ticket  // oldest first
	patient []ticket  // those of them whose position is to be committed yet, oldest first
	lagging []*Member // have a cursor
	idle    []*room   // have a chain without readers
	again   []retry   // rooms to attach again, soonest first
	expiry  int64     // before this time no publish expires

	// Partitions that wait for time; may hold some that do no more.
	delayed []*partition // have delayed set
	counted []*partition // have counting set

	// Tails: segments in order of age, and what they hold in bytes.
	oldest, newest *segment
	tails          int
	building       int // bytes of fetched history that is not in a tail yet

	// Terms that no row has told yet.
	behind []*partition // that heard of one; may hold some that have its row by now
	held   int          // bytes of held frames

	// Unacknowledged publishes.
	unacked int
	full    bool      // above the bound, until at half of it
	parked  []*Member // would go on, were it not for full

	// Publishes that are timed.
	samples   []sample
	unsampled int   // publishes since the last one that is
	sampleAt  int64 // when the next is in any case

	// Reused.
	buffers  buffers
	cursors  spare.List[*cursor]
	waits    spare.List[*wait]
	pendings spare.List[[]pending]
	spared   int // how many publishes fit into them
	line     []byte
	name     []byte

	stats Stats
}

// Stats counts what a hub did since New, and what it holds.
type Stats struct {
	Rooms          int    `metric:"gauge" help:"Rooms with a member here."`
	Members        int    `metric:"gauge" help:"Members that joined, those with Receipts not counted."`
	Waiting        int    `metric:"gauge" help:"Members not joined yet, at most: some may have left."`
	Lagging        int    `metric:"gauge" help:"Members that are not at the live end."`
	Tails          int    `name:"tail_bytes" metric:"gauge" help:"Bytes held by tails."`
	Unacknowledged int    `name:"unacknowledged_bytes" metric:"gauge" help:"Bytes held for unacknowledged publishes, bookkeeping included."`
	HeldBytes      int    `metric:"gauge" help:"Bytes of frames that wait for the Table."`
	Published      uint64 `help:"Messages taken from members."`
	Resent         uint64 `help:"Publishes sent a further time."`
	Delivered      uint64 `name:"received" help:"Messages taken from owners."`
	Duplicates     uint64 `help:"Messages from owners that were known already."`
	Writes         uint64 `help:"Writes to members."`
	Deliveries     uint64 `help:"Messages that members' sockets took whole."`
	Gaps           uint64 `help:"Times that a room went on here behind messages that were lost to it."`
	Resets         uint64 `help:"Times that a room began anew here."`
	GapsTold       uint64 `help:"Members told of a gap, when they joined or later."`
	ResetsTold     uint64 `help:"Members told of a reset, when they joined or later."`
	Repairs        uint64 `help:"Rooms attached again because messages were missing."`
	Fetches        uint64 `help:"Requests for history sent to owners."`
	Slow           uint64 `help:"Members let go because they fell behind."`
	HeldBack       uint64 `help:"Times that an owner told to keep publishes back."`
	Expired        uint64 `help:"Publishes that could not be placed in time."`
	Refused        uint64 `help:"Publishes that the owner refused."`
	Ignored        uint64 `help:"Frames of another term or owner than the row's, those held not counted."`
	Held           uint64 `help:"Frames that had to wait for the Table."`
	HeldDropped    uint64 `help:"Frames that were to wait for the Table and were dropped: too many, or no row named their term and sender."`
	Fenced         uint64 `help:"Times that a node was told that its term is old."`

	PublishToDeliver latency.Histogram `help:"From a publish being taken to its coming back as a message; one of 64, and one a second at least."`
	Acknowledge      latency.Histogram `name:"publish_to_acknowledge" help:"From a publish being taken to its acknowledgement; of the same ones as publish_to_deliver."`
	FailoverPause    latency.Histogram `help:"How long the rooms of a partition were not served because their owner was lost or silent, until another had answered."`
	MovePause        latency.Histogram `help:"How long the rooms of a partition were not served because it moved, its owner being alive."`
}

// New makes an empty hub that knows no owner of anything.
func New(cfg Config, sink Sink) *Hub {
	cfg = cfg.withDefaults()
	return &Hub{
		cfg:   cfg,
		sink:  sink,
		rooms: make(map[string]*room),
		parts: make([]*partition, (cfg.Partitions+cfg.Lanes-1)/cfg.Lanes),
		peers: make(map[proto.NodeName]*peer),
		buffers: buffers{
			limit: cfg.Spare,
		},
	}
}

// clock takes the time of a call. It never runs backwards.
func (h *Hub) clock(now time.Time) int64 {
	if h.start.IsZero() {
		h.start = now
	}
	if t := int64(now.Sub(h.start)); t > h.now {
		h.now = t
	}
	return h.now
}

// Stats is a snapshot.
func (h *Hub) Stats() Stats {
	s := h.stats
	s.Rooms, s.Members, s.Waiting, s.Lagging = len(h.rooms), h.members, len(h.joining), len(h.lagging)
	s.Waiting += len(h.patient)
	s.Tails, s.Unacknowledged, s.HeldBytes = h.tails, h.unacked, h.held
	return s
}

const (
	sweepEvery  = int64(250 * time.Millisecond)
	repairAfter = int64(50 * time.Millisecond)
	refuseAfter = int64(time.Second)
)

// Tick looks after everything that is bounded in time. Call it about every
// 50 ms.
func (h *Hub) Tick(now time.Time) {
	t := h.clock(now)
	h.giveUpJoining(t)
	h.tickDelayed(t)
	h.expire(t)
	for len(h.again) > 0 && h.again[0].at <= t {
		r := h.again[0].room
		h.again = h.again[1:]
		if !r.gone && r.state != stateAttached { // else a new row was quicker
			h.attach(r)
		}
	}
	if t-h.announced >= int64(h.cfg.MembersEvery) {
		h.announced = t
		h.announce()
	}
	if t-h.swept >= sweepEvery {
		h.swept = t
		h.closeStalled(t)
		h.dropOld(t)
		h.dropIdle(t)
		h.dropOldSamples(t)
	}
	if t-h.tidied >= int64(spare.While) {
		h.tidied = t
		h.tidy()
	}
}

// tidy lets go of memory that was needed in a burst, and not since.
func (h *Hub) tidy() {
	h.buffers.tidy()
	h.cursors.Tidy(nil)
	h.waits.Tidy(nil)
	h.pendings.Tidy(func(list []pending) { h.spared -= cap(list) })
}

func (h *Hub) giveUpJoining(t int64) {
	h.joining = overdue(h.joining, t, func(k ticket) {
		if k.m.awaitsCommit() {
			k.at += int64(h.cfg.CommitTimeout - h.cfg.JoinTimeout)
			h.patient = append(h.patient, k)
			return
		}
		h.refuse(k.m, proto.Unavailable)
	})
	h.patient = overdue(h.patient, t, func(k ticket) {
		if k.m.awaitsCommit() {
			h.refuse(k.m, proto.Unrecovered)
			return
		}
		h.refuse(k.m, proto.Unavailable) // it changed its owner, and that did not answer
	})
}

// awaitsCommit reports whether m waits for its position to be committed: the
// owner said that it exists, or was asked and says nothing until then.
func (m *Member) awaitsCommit() bool {
	r := m.room
	switch m.wait.need {
	case needLive:
		return true
	case needProbe:
		return r.state == stateAttached && r.fetch != nil && r.fetch.sent
	}
	return false
}

// overdue takes those that are due, or wait no more, off the front of a list.
// f is called for those that still wait.
func overdue(list []ticket, t int64, f func(ticket)) []ticket {
	n := 0
	for n < len(list) && (list[n].at <= t || !list[n].waiting()) {
		if list[n].waiting() {
			f(list[n])
		}
		n++
	}
	list = slices.Delete(list, 0, n)
	if len(list) == 0 && cap(list) > 1024 {
		return nil
	}
	return list
}

func (h *Hub) refuse(m *Member, code proto.Code) {
	h.leave(m)
	h.sink.Refused(m, code)
}

// closeStalled ends members that took nothing for too long.
func (h *Hub) closeStalled(t int64) {
	for i := len(h.lagging) - 1; i >= 0; i-- {
		if m := h.lagging[i]; t-m.cursor.moved >= int64(h.cfg.Stall) {
			h.slow(m)
		}
	}
}

// Full reports whether what is unacknowledged is above its bound: until half of
// it is placed every publisher is told to stop reading.
func (h *Hub) Full() bool { return h.full }

func (h *Hub) slow(m *Member) {
	h.stats.Slow++
	h.sink.Slow(m)
	h.leave(m)
}
