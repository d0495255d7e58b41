package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// lesson is how far a learner was taught: the publishers, then every room that
// there was when the lesson began, while what is appended is sent as well. Each
// frame is tagged with the index that was applied when it was written.
type lesson struct {
	number    uint8       // another one than of the lesson before: the learner repeats it
	start     proto.Index // publishers and rooms born later come as entries
	publisher uint32      // publishers up to it are taught
	room      *roomState  // the next one, or the one that is open
	open      bool        // its beginning was sent
	at        proto.Offset

	taught     bool // all was sent
	whole      bool // and is there
	wholeSince time.Duration
}

// teachLater has a learner taught when it is its turn. Until it says that it began,
// nothing more is sent; and a copy that is ahead of its log is no lesson yet: what
// is committed will come soon.
func (l *Lane) teachLater(x *replica) {
	r := x.peer
	if r == nil || x.follower || x.pupil || x.lesson.taught || x.begun && !x.heard || x.part.applied < x.part.follow.wholeAt {
		return
	}
	x.pupil = true
	r.pupils = append(r.pupils, x)
	l.list(r)
}

// dismiss ends that a learner is taught.
func (r *Peer) dismiss(x *replica) {
	if x.pupil {
		x.pupil = false
		r.pupils = slices.DeleteFunc(r.pupils, func(o *replica) bool { return o == x })
	}
	if r.pupil == x {
		r.pupil = nil
	}
}

// forgetLesson has a learner begin anew.
func (x *replica) forgetLesson() {
	x.begun, x.heard, x.probed, x.stored, x.sent = false, false, false, 0, 0
	x.lesson = lesson{}
}

// restartLesson has a learner begin anew on the same link.
func (l *Lane) restartLesson(x *replica) {
	if x.queued {
		l.unsend(x)
	}
	if r := x.peer; r != nil {
		r.dismiss(x)
	}
	x.forgetLesson()
	l.unawait(x)
	l.teachLater(x)
}

// lessonHeard takes what a Stored says about a lesson. It reports false when that
// is about an earlier one, or that nothing is there any more.
func (l *Lane) lessonHeard(x *replica, s *proto.Stored) bool {
	switch {
	case x.follower:
		return true
	case !x.begun || s.Teaching != x.lesson.number:
		return false
	case s.Gap && (s.Index == 0 || s.Index+1 < x.part.log.first):
		l.stats.Relearned++
		l.restartLesson(x)
		return false
	case !x.lesson.whole:
		x.progress = l.now // it takes its lesson
	}
	if s.Whole && x.lesson.taught && !x.lesson.whole {
		x.lesson.whole, x.lesson.wholeSince = true, l.now
		l.stats.Taught++
	}
	return true
}

// skip has a lesson go on without a room that is forgotten.
func (x *replica) skip(rm *roomState) {
	if x.lesson.room == rm {
		x.lesson.room, x.lesson.open = rm.next, false
	}
}

// mayTeach reports whether snapshots may be sent now.
func (l *Lane) mayTeach() bool { return l.cfg.SnapshotRate < 0 || l.tokens > 0 }

// maxTokens is what learners may be sent at once, in bytes.
func (l *Lane) maxTokens() int64 { return max(l.cfg.SnapshotRate/8, 1) }

// lately is how many bytes were appended, halved every Tick.
func (p *part) lately(tick uint32) uint32 { return p.lead.lately >> (tick - p.lead.latelyAt) }

// teachOn counts what learners may be sent by now, and wakes those who are taught.
func (l *Lane) teachOn() {
	if rate := l.cfg.SnapshotRate; rate > 0 {
		passed := min(l.now-l.counted, time.Second)
		l.tokens = min(l.tokens+int64(float64(rate)*passed.Seconds()), l.maxTokens())
		l.counted = l.now
	}
	if !l.mayTeach() {
		return
	}
	for i, r := range l.teachers {
		l.teachers[i] = nil
		r.teaches = false
		if len(r.pupils) > 0 {
			l.list(r)
		}
	}
	l.teachers = l.teachers[:0]
}

// rest has a peer with pupils taught on by the next Tick that has tokens.
func (l *Lane) rest(r *Peer) {
	if !r.teaches {
		r.teaches = true
		l.teachers = append(l.teachers, r)
	}
}

// teach fills what space is left with lessons: one learner after the other, that
// of the busiest partition first.
func (f *filler) teach() {
	r := f.r
	for len(r.pupils) > 0 && f.l.mayTeach() {
		x := r.nextPupil(f.l.ticks)
		before := len(f.b)
		done := f.snapshot(x)
		if len(f.b) == before {
			return // no space
		}
		f.l.tokens -= int64(len(f.b) - before)
		f.l.stats.SnapshotBytes += uint64(len(f.b) - before)
		if done {
			x.lesson.taught, x.progress = true, f.l.now
		}
		if done || !x.heard {
			r.dismiss(x)
		}
		f.l.send(x)
	}
}

// nextPupil is who is taught now.
func (r *Peer) nextPupil(tick uint32) *replica {
	if r.pupil != nil {
		return r.pupil
	}
	for _, x := range r.pupils {
		if r.pupil == nil || x.part.lately(tick) > r.pupil.part.lately(tick) {
			r.pupil = x
		}
	}
	return r.pupil
}

// snapshot sends one Snapshot; it reports whether that was the last.
func (f *filler) snapshot(x *replica) (done bool) {
	p := x.part
	was, first := x.lesson, !x.begun
	if first {
		x.lesson = lesson{number: max(p.taught+1, 1), start: p.applied, room: p.first}
	}
	s := proto.Snapshot{Partition: p.number, Term: p.row.Term, Index: p.applied, Teaching: x.lesson.number, First: first}
	b, start := proto.BeginSnapshot(f.b, &s)
	t := tutor{l: f.l, x: x, b: b, end: min(f.end, start+maxDeliver), most: min(f.end, start+proto.MaxFrame), empty: len(b)}
	if first {
		t.end = min(f.end, start+maxProbe)
		t.most = t.end
	}
	done = (!first || t.beginning()) && t.publishers() && t.rooms()
	if len(t.b) > f.end || !done && len(t.b) == len(b) {
		x.lesson = was
		return false
	}
	if first {
		p.taught = x.lesson.number
		x.begun, x.heard, x.probed, x.due = true, false, false, true
		x.stored, x.sent = p.applied, p.applied
		x.progress, x.resent = f.l.now, f.l.now
	}
	if done {
		proto.SetSnapshotLast(t.b, start)
	}
	f.b = proto.End(t.b, start)
	return done
}

// tutor writes one Snapshot.
type tutor struct {
	l     *Lane
	x     *replica
	b     []byte
	end   int // len(b) must not pass it
	most  int // unless a single message is bigger: then not this
	empty int // len(b) while there is no message in it
}

// put appends what fits, and reports whether it did.
func (t *tutor) put(e *proto.Entry) bool {
	if len(t.b)+proto.EntrySize(e) > t.end {
		return false
	}
	t.b = proto.AppendEntry(t.b, e)
	return true
}

// beginning says when the lesson began, and the highest number given out by then.
func (t *tutor) beginning() bool {
	p := t.x.part
	return t.put(&proto.Entry{Kind: proto.EntryDropped, At: p.lastAt, Publisher: p.given()})
}

// publishers reports whether all are taught.
func (t *tutor) publishers() bool {
	p, s := t.x.part, &t.x.lesson
	i, ok := p.findPublisher(s.publisher)
	if ok {
		i++
	}
	for ; i < len(p.pubs); i++ {
		pub := p.pubs[i]
		if pub.pending || pub.born > s.start {
			continue // it comes as an entry
		}
		e := proto.Entry{
			Kind: proto.EntryPublisher, Publisher: pub.number, Committed: pub.committed,
			Left: pub.left, Name: []byte(pub.name), Refused: pub.refused,
		}
		if !t.put(&e) {
			return false
		}
		s.publisher = pub.number
	}
	return true
}

// rooms reports whether all are taught.
func (t *tutor) rooms() bool {
	for s := &t.x.lesson; s.room != nil; {
		if rm := s.room; !rm.pending && rm.born <= s.start && !t.one(rm, s) {
			return false
		}
		s.room, s.open = s.room.next, false
	}
	return true
}

// one teaches a room, or a part of it: it reports whether that is all. When what
// comes next is not kept any more, the room begins anew.
func (t *tutor) one(rm *roomState, s *lesson) bool {
	e := &t.l.in
	name := append(t.l.name[:0], rm.name...)
	if !s.open || s.at+1 < rm.log.First() {
		*e = proto.Entry{Kind: proto.EntryRoom, Room: name, Epoch: rm.log.Epoch(), Offset: rm.log.First() - 1, Touched: uint64(rm.touched)}
		if !t.put(e) {
			return false
		}
		s.open, s.at = true, rm.log.First()-1
		t.empty = len(t.b)
	}
	rm.log.Walk(s.at, rm.log.Head(), func(o proto.Offset, m *room.Message) bool {
		*e = proto.Entry{Kind: proto.EntryMessage, At: uint64(m.At), Publisher: m.Publisher, Conn: m.Conn, Offset: o, Room: name, Message: m.Kind, Payload: m.Payload}
		if !t.put(e) && !t.putBig(e) {
			return false
		}
		s.at = o
		return true
	})
	if s.at < rm.log.Head() {
		return false
	}
	*e = proto.Entry{Kind: proto.EntryRoomEnd, Room: name}
	return t.put(e)
}

// putBig appends a message that is bigger than frames should be, if it is the
// first of its frame.
func (t *tutor) putBig(e *proto.Entry) bool {
	if len(t.b) != t.empty || len(t.b)+proto.EntrySize(e) > t.most {
		return false
	}
	t.b = proto.AppendEntry(t.b, e)
	return true
}
