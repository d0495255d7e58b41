package verify

import (
	"cmp"
	"math"
	"slices"
)

// finish judges what is missing, once nothing more will come.
func (j *judge) finish(now int64) {
	unknown := uint64(0)
	for n, l := range j.ledgers {
		unknown += j.missing(l, n, now)
		j.seal(l, n, len(l.slots))
	}
	for i := range j.followers {
		if n := j.followers[i].beyond; n > 0 {
			j.note(fault{kind: lost, room: j.room, member: i, at: now, count: n})
		}
	}
	// A content that was altered for everybody, and an offset that everybody went past, is one of the
	// messages that nobody saw: it must not count again.
	owed := j.owed()
	for _, f := range owed[:len(owed)-int(min(j.explained, uint64(len(owed))))] {
		j.note(f)
	}
	if known := max(uint64(len(owed)), j.explained); unknown > known {
		j.note(fault{kind: lost, room: j.room, member: -1, at: now, count: unknown - known})
	}
	j.unplaced()
	j.taken()
}

// taken notes the messages that gaps and resets took, but for those that stand in a later epoch again, or
// that the member was told to hear after all.
func (j *judge) taken() {
	for _, t := range j.takings {
		st, told := &j.streams[t.stream], j.excusedOf(t.ledger, t.offset, t.offset)
		again := slices.ContainsFunc(st.tracks, func(k track) bool { return k.ledger > t.ledger && k.seen.has(t.seq) })
		if len(told) > 0 && !again {
			first := slices.MinFunc(told, func(a, b excusal) int { return cmp.Compare(a.noticed, b.noticed) })
			j.note(fault{kind: taken, room: j.room, epoch: j.ledgers[t.ledger].epoch, offset: t.offset, member: first.member, at: first.noticed,
				from: st.sender, seq: t.seq})
		}
	}
}

// missing notes the messages of an epoch that members lack who are entitled to them. It returns how many
// offsets more there are that everybody went past, so that nobody knows what stands there.
func (j *judge) missing(l *ledger, number int, now int64) (unknown uint64) {
	below := uint64(0) // all up to here are done
	for _, h := range j.lost(number, l.top()) {
		upto := min(h.to, h.from+maxJump) // more has no number that means anything
		for offset := max(h.from, below+1); offset <= upto; offset++ {
			s, known := l.look(offset)
			f := fault{kind: lost, room: j.room, epoch: l.epoch, offset: offset, member: h.member, at: now}
			switch {
			case known && s.hash == 0 && h.wrong:
				continue
			case s.hash == 0 && (known || len(l.kept) < maxKept):
				unknown++
				continue
			case known:
				f.from, f.seq, f.at, f.sent = j.streams[s.stream].sender, s.seq, s.sent, true
			}
			j.note(f)
		}
		below = max(below, upto)
	}
	return unknown
}

// lost returns what members lack of an epoch, by offset. Members who are away are not entitled to what
// came behind their position.
func (j *judge) lost(number int, top uint64) []lack {
	list := slices.DeleteFunc(j.lacking(number, top), func(h lack) bool {
		f := &j.followers[h.member]
		return !(f.open && !f.opening) && (f.ledger < number || h.from > f.pos)
	})
	slices.SortFunc(list, func(a, b lack) int { return cmp.Compare(a.from, b.from) })
	return list
}

// owed returns the messages that nobody saw though their sockets are open, as far as a member is
// entitled to them: one that was there when they were due, and was told of no gap or reset since.
func (j *judge) owed() (list []fault) {
	since := int64(math.MaxInt64)
	for i := range j.followers {
		if f := &j.followers[i]; f.open && !f.opening && f.ledger >= 0 {
			since = min(since, max(f.joined, f.told))
		}
	}
	j.unseen(false, func(from sender, m sending) {
		if m.at <= since {
			j.excused++
		} else {
			list = append(list, fault{kind: lost, room: j.room, member: -1, from: from, seq: m.seq, at: m.at, sent: true})
		}
	})
	return list
}

// unplaced notes the messages of sockets that closed before anybody saw them.
func (j *judge) unplaced() {
	j.unseen(true, func(from sender, m sending) {
		j.note(fault{kind: unplaced, room: j.room, member: -1, from: from, seq: m.seq, at: m.at, sent: true})
	})
}

func (j *judge) unseen(closed bool, each func(sender, sending)) {
	for i := range j.streams {
		s := &j.streams[i]
		if s.closed != closed {
			continue
		}
		for _, m := range s.unseen {
			if m.at >= 0 {
				each(s.sender, m)
			}
		}
	}
}
