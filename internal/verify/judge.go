package verify

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// judge decides what is right in one room. It has no lock, clock or socket: it is told what members
// sent and heard, and when, and it notes what breaks a promise.
//
// It goes by offsets. A member may only hear the offset after its last one; each offset of an epoch has
// one content, and each content one offset in an epoch; what one socket sent keeps its order.
//
// Memory is bounded: what all members have passed is forgotten after a while. Of each socket it remains
// which of its numbers came, as ranges, so that a message that comes again much later is still found.
type judge struct {
	codec codec
	room  uint32
	limit int // slots to remember, at least
	note  func(fault)

	ledgers   []*ledger // in the order in which anybody heard of their epochs
	followers []follower
	streams   []stream

	takings []taking // at most maxKept

	acked     uint64 // messages that anybody received
	excused   uint64 // messages that nobody saw, which a gap or a reset took
	explained uint64 // forgotten slots with a content that was altered: one message each is no loss
}

// fault is one thing that broke, or was announced.
type fault struct {
	kind   kind
	room   uint32
	epoch  proto.Epoch
	offset uint64
	member int // that heard it, or should have; -1 for none in particular

	// from and seq say which message, if seq is not 0.
	from sender
	seq  uint32

	// at decides the period. sent says that it is when the message was due, not when something came.
	at    int64
	sent  bool
	count uint64 // 0 means 1
}

// taking is a message that somebody received, and that a gap or a reset took from somebody else.
type taking struct {
	ledger int
	offset uint64
	stream int32
	seq    uint32
}

// keepTime is how long what all members have passed is remembered.
const keepTime = 30 * time.Second

const (
	maxEpochs = 1 << 12 // lives of a room in one run
	maxOffset = 1 << 62 // no room comes so far
)

func newJudge(c codec, room uint32, members, limit int, note func(fault)) *judge {
	j := &judge{codec: c, room: room, limit: limit, note: note, followers: make([]follower, members)}
	for i := range j.followers {
		j.followers[i] = follower{ledger: -1, told: -1}
	}
	return j
}

// opened says that a member has a new socket. It resumes from position, if that has an answer.
func (j *judge) opened(m int) {
	f := &j.followers[m]
	f.open, f.opening, f.resumed = true, true, f.ledger >= 0
	j.streams = append(j.streams, stream{sender: sender{uint32(m), uint16(len(f.streams))}})
	f.streams = append(f.streams, int32(len(j.streams)-1))
}

// closed says that a member's socket ended, and whether it is the last.
func (j *judge) closed(m int, last bool) {
	f := &j.followers[m]
	if n := len(f.streams); n > 0 {
		j.streams[f.streams[n-1]].closed = true
	}
	f.open, f.opening, f.left = false, false, last
}

// position is where a member resumes; false when it has heard nothing yet.
func (j *judge) position(m int) (p proto.Position, ok bool) {
	f := &j.followers[m]
	if f.ledger < 0 {
		return p, false
	}
	return proto.Position{Epoch: j.ledgers[f.ledger].epoch, Offset: proto.Offset(f.pos)}, true
}

// ready tells whether a member may send: it has heard where it is.
func (j *judge) ready(m int) bool { return j.followers[m].open && !j.followers[m].opening }

// send appends the payload of a member's next message, which is due at a time.
func (j *judge) send(b []byte, m int, isBinary bool, at int64) []byte {
	f := &j.followers[m]
	s := &j.streams[f.streams[len(f.streams)-1]]
	return j.codec.append(b, stamp{j.room, s.member, s.conn, s.send(at), at}, isBinary)
}

// heard takes in a line. resumed tells what became of a resume, if it was the first line of one.
func (j *judge) heard(m int, l line, now int64) (resumed bool, how told) {
	f := &j.followers[m]
	pos := uint64(l.at.Offset)
	n := j.ledger(l.at)
	if n < 0 || pos > j.ledgers[n].top()+maxJump {
		j.malformed(m, now)
		return false, whole
	}
	first := f.opening
	f.opening = false
	if f.ledger < 0 {
		if l.told != whole {
			j.malformed(m, now)
		}
		f.joined = now
		f.ledger, f.pos = n, pos
		return false, whole
	}
	switch {
	case l.told == anew:
		j.announce(reset, m, l.at, now)
		j.ledgers[n].announced = true
		j.excuse(m, n, pos, now)
		f.move(n, pos)
	case n != f.ledger: // and nobody says that it began anew
		j.malformed(m, now)
		f.skip(hole{f.ledger, f.pos + 1, endless, now})
		f.move(n, pos)
	case l.told == missed && pos >= f.pos:
		j.announce(gap, m, l.at, now)
		j.excuse(m, n, pos, now)
		f.move(n, pos)
	case l.told == whole && pos == f.pos && first:
	default: // the next message shows what is missing
		j.malformed(m, now)
	}
	return first && f.resumed, l.told
}

func (j *judge) announce(k kind, m int, at proto.Position, now int64) {
	j.followers[m].told = now
	j.note(fault{kind: k, room: j.room, epoch: at.Epoch, offset: uint64(at.Offset), member: m, at: now})
}

// excuse notes what a member is told that it will not hear, before it moves to where it is told to be.
func (j *judge) excuse(m, number int, pos uint64, now int64) {
	f := &j.followers[m]
	from := max(f.pos, f.high) + 1
	for n := f.ledger; n < number; n++ { // whole lives of the room, perhaps
		j.skipped(m, hole{n, from, endless, now})
		from = 1
	}
	if f.ledger <= number && from <= pos {
		j.skipped(m, hole{number, from, pos, now})
	}
}

// skipped has a member go past a stretch, which it was told of. What is forgotten already is taken now, the
// rest when it is known what stands there.
func (j *judge) skipped(m int, h hole) {
	f, l := &j.followers[m], j.ledgers[h.ledger]
	if len(f.excused) == maxHoles {
		f.excused = f.excused[1:]
	}
	f.excused = append(f.excused, h)
	for _, offset := range slices.Sorted(maps.Keys(l.kept)) {
		if offset >= h.from && offset <= h.to {
			s := l.kept[offset]
			j.take(&s, h.ledger, offset)
			l.kept[offset] = s
		}
	}
}

// take notes that a gap or reset took a message, if it is one that somebody received.
func (j *judge) take(s *slot, number int, offset uint64) {
	if s.hash != 0 && len(j.takings) < maxKept && s.raise(wasTaken) {
		j.takings = append(j.takings, taking{number, offset, s.stream, s.seq})
	}
}

// ledger returns the number of an epoch's ledger, -1 when there are too many or the offset is none.
func (j *judge) ledger(at proto.Position) int {
	for i := len(j.ledgers) - 1; i >= 0; i-- {
		if j.ledgers[i].epoch == at.Epoch {
			return i
		}
	}
	if len(j.ledgers) == maxEpochs || at.Offset > maxOffset {
		return -1
	}
	j.ledgers = append(j.ledgers, &ledger{epoch: at.Epoch, base: uint64(at.Offset) + 1, first: uint64(at.Offset) + 1})
	return len(j.ledgers) - 1
}

// came takes in a message. It returns when it was due; ok is false when it is no delivery.
func (j *judge) came(m int, offset uint64, payload []byte, isBinary bool, now int64) (sent int64, ok bool) {
	f := &j.followers[m]
	if f.ledger < 0 || f.opening || offset == 0 || offset > f.pos && offset-f.pos > maxJump {
		j.malformed(m, now)
		return 0, false
	}
	l := j.ledgers[f.ledger]
	how := f.advance(offset, now)
	s := j.slot(l, f.ledger, offset)
	if s == nil { // forgotten: what came is judged by itself, and kept if somebody still lacks it
		old, kept := l.kept[offset]
		s = &old
		if kept {
			defer func() {
				if len(j.excusedOf(f.ledger, offset, offset)) > 0 {
					j.take(&old, f.ledger, offset)
				}
				l.kept[offset] = old
			}()
		}
	}
	hash := identity(payload, isBinary)
	if s.hash != hash {
		st, what := j.identify(payload, isBinary)
		if what != good {
			j.bad(s, m, offset, what, now)
			return 0, false
		}
		if s.hash != 0 {
			j.conflict(s, m, offset, st, now)
			return st.at, how != again
		}
		s.hash, s.sent, s.came, s.seq, s.stream, s.first = hash, st.at, now, st.seq, j.stream(st), int32(m)
		if offset < l.base { // nobody will seal it again
			if t := j.streams[s.stream].in(f.ledger); !t.seen.has(s.seq) {
				t.seen = t.seen.add(s.seq)
			}
		}
	}
	if s.heard < math.MaxUint16 {
		s.heard++
	}
	switch {
	case how == again && s.raise(wasDoubled):
		j.say(doubled, s, m, offset, now)
	case how == late && s.raise(wasReordered):
		j.say(reordered, s, m, offset, now)
	}
	return s.sent, how != again && offset > f.high
}

// slot returns the slot of an offset, nil when it is forgotten. A ledger never grows beyond its limit,
// whatever members lag behind.
func (j *judge) slot(l *ledger, number int, offset uint64) *slot {
	if over := int64(offset) - int64(l.base) - int64(j.limit); over >= 0 {
		n := min(over+1+int64(j.limit/8), int64(len(l.slots)))
		j.seal(l, number, int(n))
		if len(l.slots) == 0 {
			l.base, l.forgot = offset, true // whatever was between, nobody heard it
		}
	}
	return l.at(offset)
}

// identify tells whose message a payload is, and notes that somebody has it.
func (j *judge) identify(payload []byte, isBinary bool) (stamp, content) {
	st, what := j.codec.read(payload, isBinary)
	if what != good {
		return st, what
	}
	n := j.stream(st)
	if n < 0 {
		return st, strange
	}
	first, ok := j.streams[n].saw(st.seq, st.at)
	if !ok {
		return st, strange
	}
	if first {
		j.acked++
	}
	return st, good
}

// stream returns the number of the stream of a stamp, -1 when there is none.
func (j *judge) stream(st stamp) int32 {
	if st.room != j.room || int(st.member) >= len(j.followers) {
		return -1
	}
	if of := j.followers[st.member].streams; int(st.conn) < len(of) {
		return of[st.conn]
	}
	return -1
}

// bad notes a message that is not as anybody sent it.
func (j *judge) bad(s *slot, m int, offset uint64, what content, now int64) {
	k, flag := altered, wasAltered
	if what == strange {
		k, flag = invented, wasInvented
		j.followers[m].mistake(offset)
	}
	if s.raise(flag) {
		f := &j.followers[m]
		j.note(fault{kind: k, room: j.room, epoch: j.ledgers[f.ledger].epoch, offset: offset, member: m, at: now})
	}
}

// conflict notes that an offset has another content for this member.
func (j *judge) conflict(s *slot, m int, offset uint64, st stamp, now int64) {
	l := j.ledgers[j.followers[m].ledger]
	if s.raise(wasConflict) {
		j.note(fault{kind: conflict, room: j.room, epoch: l.epoch, offset: offset, member: m, at: now,
			from: sender{st.member, st.conn}, seq: st.seq})
	}
	l.other(offset, m)
}

// disagree notes who heard something else than most, at an offset with two contents.
func (j *judge) disagree(l *ledger, s *slot, offset uint64) {
	odd := l.others[offset]
	delete(l.others, offset)
	if len(odd) > int(s.heard) {
		odd = []int32{s.first}
	}
	for _, m := range odd {
		f := &j.followers[m]
		if f.disagrees {
			continue
		}
		f.disagrees = true
		j.note(fault{kind: disagree, room: j.room, epoch: l.epoch, offset: offset, member: int(m), at: s.came})
	}
}

func (j *judge) malformed(m int, now int64) {
	f := fault{kind: malformed, room: j.room, member: m, at: now}
	if at, ok := j.position(m); ok {
		f.epoch, f.offset = at.Epoch, uint64(at.Offset)
	}
	j.note(f)
}

// say notes a fault of a message that is known.
func (j *judge) say(k kind, s *slot, m int, offset uint64, at int64) {
	f := &j.followers[m]
	j.note(fault{kind: k, room: j.room, epoch: j.ledgers[f.ledger].epoch, offset: offset, member: m, at: at,
		from: j.streams[s.stream].sender, seq: s.seq})
}

// sweep forgets what all members have passed for a while. It returns how many offsets members went past
// and still lack.
func (j *judge) sweep(now int64) (missing uint64) {
	for n, l := range j.ledgers {
		passed := j.passed(n)
		count := 0
		for i := range l.slots {
			if s := &l.slots[i]; l.base+uint64(i) > passed || s.hash != 0 && now-s.came < int64(keepTime) {
				break
			}
			count++
		}
		j.seal(l, n, count)
	}
	for i := range j.followers {
		missing += j.followers[i].missing()
	}
	return missing
}

// passed is the highest offset of a ledger that nobody is still to hear.
func (j *judge) passed(number int) uint64 {
	lowest := endless
	for i := range j.followers {
		switch f := &j.followers[i]; {
		case f.left || f.ledger > number || f.ledger < 0:
		case f.ledger == number:
			lowest = min(lowest, f.pos)
		default:
			lowest = 0 // it is to be told of this epoch
		}
	}
	return lowest
}

// seal forgets the lowest n slots of a ledger, having judged their order.
func (j *judge) seal(l *ledger, number, n int) {
	if n == 0 {
		return
	}
	last := l.base + uint64(n) - 1
	lacking, excused := j.lacking(number, last), j.excusedOf(number, l.base, last)
	for i := range n {
		offset, s := l.base+uint64(i), l.slots[i]
		if s.hash == 0 && s.flags&wasAltered != 0 {
			j.explained++
		}
		switch {
		case s.flags&wasConflict != 0:
			j.disagree(l, &s, offset)
		case s.hash != 0:
			j.order(&s, number, offset)
		}
		if slices.ContainsFunc(excused, func(h excusal) bool { return offset >= h.from && offset <= h.to }) {
			j.take(&s, number, offset)
		}
		if slices.ContainsFunc(lacking, func(h lack) bool { return offset >= h.from && offset <= h.to }) {
			l.keep(offset, s)
		}
	}
	l.forget(n)
}

// order checks the place of a message among those of its socket. Slots come in the order of their offsets.
func (j *judge) order(s *slot, number int, offset uint64) {
	st := &j.streams[s.stream]
	t := st.in(number)
	f := fault{room: j.room, epoch: j.ledgers[number].epoch, offset: offset, member: -1, at: s.came, from: st.sender, seq: s.seq}
	switch {
	case t.seen.has(s.seq):
		f.kind = doubled
		j.note(f)
		return
	case s.seq < t.last:
		f.kind = reordered
		j.note(f)
	}
	t.seen, t.last = t.seen.add(s.seq), max(t.last, s.seq)
	for _, other := range st.tracks {
		if later := max(other.ledger, number); other.ledger != number && other.seen.has(s.seq) && !j.ledgers[later].announced {
			f.kind = doubled
			j.note(f)
		}
	}
}

// lack is what a member lacks of a ledger.
type lack struct {
	member   int
	from, to uint64
	wrong    bool // it heard something there, which was nothing good
}

// lacking returns what members lack of a ledger up to an offset, and may still get.
func (j *judge) lacking(number int, upto uint64) (list []lack) {
	for i := range j.followers {
		f := &j.followers[i]
		for _, h := range f.holes {
			if h.ledger == number {
				list = append(list, lack{i, h.from, min(h.to, upto), false})
			}
		}
		if f.ledger == number {
			for _, o := range f.wrong {
				list = append(list, lack{i, o, o, true})
			}
		}
		switch {
		case f.left || f.ledger < 0 || f.ledger > number:
		case f.ledger < number:
			list = append(list, lack{i, j.ledgers[number].first, upto, false})
		case f.pos < upto:
			list = append(list, lack{i, f.pos + 1, upto, false})
		}
	}
	return list
}

// excusal is a stretch of offsets that a member was told it would not hear.
type excusal struct {
	hole
	member int
}

// excusedOf returns what members were told that they would not hear of a ledger, from an offset to another.
func (j *judge) excusedOf(number int, from, to uint64) (list []excusal) {
	for i := range j.followers {
		for _, h := range j.followers[i].excused {
			if h.ledger == number && h.from <= to && h.to >= from {
				list = append(list, excusal{h, i})
			}
		}
	}
	return list
}

// owing tells whether something is still to come: messages that nobody saw of sockets that are open, or
// some that members have not reached.
func (j *judge) owing() bool {
	for i := range j.streams {
		if s := &j.streams[i]; !s.closed && s.waiting() > 0 {
			return true
		}
	}
	for i := range j.followers {
		f := &j.followers[i]
		switch {
		case f.left:
		case !f.open || f.opening || f.missing() > 0:
			return true
		case f.ledger < len(j.ledgers)-1 || f.pos < j.ledgers[f.ledger].top():
			return true
		}
	}
	return false
}
