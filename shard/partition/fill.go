package partition

import "github.com/roomring/roomring/proto"

// Sizes of what comes before a frame's list: header, partition(2), term(8),
// and for rooms: room, epoch(13), offset(8), of a Fetched also last(1).
const (
	batchHead = proto.HeaderSize + 2 + 8
	roomHead  = batchHead + 1 + 13 + 8
)

// attachedSize is what an entry of an Attached takes.
func attachedSize(room string) int { return 1 + len(room) + 13 + 8 + 8 + 1 }

// filler is one call of Fill.
type filler struct {
	l     *Lane
	r     *Peer
	b     []byte
	end   int // len(b) must not pass it
	batch int // where the open Attached frame begins; -1: none is open
	of    *part
}

// Fill appends data frames for a peer to b, at most limit bytes of them, read
// from the logs of rooms and partitions. These take turns, frame by frame. What
// does not fit waits for the next call; limit must at times be proto.MaxFrame,
// else the largest messages never go.
func (l *Lane) Fill(r *Peer, b []byte, limit int) []byte {
	f := filler{l: l, r: r, b: b, end: len(b) + limit, batch: -1}
	if r.shard != nil {
		f.replicate()
		return f.b
	}
	if f.answers() {
		for r.first != nil && f.serve(r.first) {
		}
	}
	f.close()
	return f.b
}

// answers sends what needs no log. It reports whether all of it fit.
func (f *filler) answers() bool {
	for i := range f.r.answers {
		a := &f.r.answers[i]
		fits := false
		if a.fetch {
			fits = f.fetchedNothing(a)
		} else {
			e := proto.AttachedEntry{Room: []byte(a.room), Offset: proto.Offset(a.code), Status: proto.StatusRefused}
			fits = f.attached(a.part, a.room, &e)
		}
		if !fits {
			f.r.answers = append(f.r.answers[:0], f.r.answers[i:]...)
			return false
		}
	}
	clear(f.r.answers)
	f.r.answers = f.r.answers[:0]
	return true
}

// serve sends one frame of a cursor, the first of the peer's ready ones. It
// reports false when there is no space.
func (f *filler) serve(c *cursor) bool {
	log := &c.room.log
	if c.at+1 < log.First() {
		f.fallBehind(c)
	}
	switch {
	case c.fetch:
		return f.fetched(c)
	case c.due:
		e := proto.AttachedEntry{Epoch: log.Epoch(), Offset: c.at, First: log.First(), Status: c.status}
		if !f.attached(c.room.part, c.room.name, &e) {
			return false
		}
		c.due = false
	case c.at < log.Head():
		if !f.deliver(c) {
			return false
		}
	}
	f.l.unready(c)
	if c.at < log.Head() {
		f.l.ready(c) // behind the others
	}
	return true
}

// fallBehind moves a cursor over messages that are not kept any more: this
// router alone stalled, and it alone is told of a gap.
func (f *filler) fallBehind(c *cursor) {
	c.at = min(c.room.log.First()-1, c.upto)
	if c.fetch || f.l.cfg.Break&BreakGap != 0 {
		return // a Fetched says itself where it begins
	}
	if !c.due {
		f.l.stats.FellBehind++
	}
	if !c.due || c.status == proto.StatusWhole {
		c.status = proto.StatusGap
	}
	c.due = true
}

// attached adds an entry to the open Attached frame, or to a new one.
func (f *filler) attached(p *part, name string, e *proto.AttachedEntry) bool {
	if f.batch >= 0 && (f.of != p || len(f.b)-f.batch+attachedSize(name) > maxDeliver) {
		f.close()
	}
	need := attachedSize(name)
	if f.batch < 0 {
		need += batchHead
	}
	if len(f.b)+need > f.end {
		return false
	}
	if f.batch < 0 {
		f.b, f.batch = proto.BeginBatch(f.b, proto.FrameAttached, p.number, p.row.Term)
		f.of = p
	}
	e.Room = []byte(name)
	f.b = proto.AppendAttachedEntry(f.b, e)
	return true
}

// close ends the open Attached frame.
func (f *filler) close() {
	if f.batch >= 0 {
		f.b = proto.End(f.b, f.batch)
		f.batch = -1
	}
}

func (f *filler) deliver(c *cursor) bool {
	f.close()
	rm := c.room
	if len(f.b)+roomHead+len(rm.name) > f.end {
		return false
	}
	b, start := proto.BeginDeliver(f.b, rm.part.number, rm.part.row.Term, rm.name, rm.log.Epoch(), c.at+1)
	b, last := f.read(b, start, c)
	if last == c.at {
		return false
	}
	f.l.stats.Delivered += uint64(last - c.at)
	c.at = last
	f.b = proto.End(b, start)
	return true
}

func (f *filler) fetched(c *cursor) bool {
	f.close()
	rm := c.room
	if len(f.b)+roomHead+1+len(rm.name) > f.end {
		return false
	}
	b, start := proto.BeginFetched(f.b, rm.part.number, rm.part.row.Term, rm.name, rm.log.Epoch(), c.at, false)
	b, last := f.read(b, start, c)
	if last == c.at && last < c.upto {
		return false
	}
	f.l.stats.Fetched += uint64(last - c.at)
	c.at = last
	if last == c.upto {
		proto.SetFetchedLast(b, start, len(rm.name))
		f.l.removeCursor(c)
	} else {
		f.l.unready(c)
		f.l.ready(c)
	}
	f.b = proto.End(b, start)
	return true
}

// read appends what fits of a cursor's messages to the frame that began at
// start.
func (f *filler) read(b []byte, start int, c *cursor) ([]byte, proto.Offset) {
	limit := min(f.end, start+maxDeliver) - len(b)
	var number uint32 // of the router: its own messages carry their conns
	if pub := f.r.router.pubs[c.room.part.local]; pub != nil {
		number = pub.number
	}
	b, last := c.room.log.Read(b, c.at, c.upto, limit, number)
	if last == c.at && f.end > start+maxDeliver { // a single big one
		b, last = c.room.log.Read(b, c.at, min(c.at+1, c.upto), f.end-len(b), number)
	}
	return b, last
}

func (f *filler) fetchedNothing(a *answer) bool {
	f.close()
	if len(f.b)+roomHead+1+len(a.room) > f.end {
		return false
	}
	b, start := proto.BeginFetched(f.b, a.part.number, a.part.row.Term, a.room, a.epoch, a.offset, true)
	f.b = proto.End(b, start)
	return true
}
