package partition

import (
	"errors"
	"time"

	"github.com/roomring/roomring/proto"
)

// What a shard can do to have its link closed, beyond what routers can.
var (
	errOwner  = errors.New("entries come from a shard that is not the owner")
	errIndex  = errors.New("index is out of bounds")
	errCut    = errors.New("what was stored in this term is to be cut")
	errBehind = errors.New("too much is not committed")
	errLesson = errors.New("part of a copy does not fit what came before")
)

// follow is what a follower or learner has.
//
// Invariant: entries up to stored are those of the owner of this term; what is
// behind them, if anything, an owner of an earlier term sent, and may be cut.
type follow struct {
	source *Peer       // the owner's link
	term   proto.Term  // in which it speaks
	stored proto.Index // what it is told of
	fits   bool        // an Append fitted in this term

	gap   bool // it was told that something is missing
	gapAt time.Duration

	// Of a learner.
	named    bool        // the row's move names us
	teaching uint8       // the owner's number of the lesson; of the last one when there is no copy
	tag      proto.Index // of the last Snapshot
	last     bool        // no more of them come
	wholeAt  proto.Index // rooms and publishers may be as of this entry: earlier ones may not fit them
	feeding  *roomState  // whose messages come
}

// restart begins a term.
func (f *follow) restart(p *part, named bool) {
	f.source, f.term, f.stored = nil, p.row.Term, p.applied
	f.fits, f.gap, f.named = false, false, named
}

// follows takes entries of the owner.
func (l *Lane) follows(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseAppend(body)
	if err != nil {
		return err
	}
	if err := l.fromOwner(p, r); err != nil {
		return err
	}
	f := &p.follow
	if p.owned {
		return p.unfenced(l, r, &x)
	}
	switch {
	case p.copy == nothing && p.row.names(l.cfg.Self):
		return nil // it must not look as if something were here
	case p.copy == learning && f.source != r:
		return nil
	}
	f.source, f.term = r, x.Term
	if p.copy == nothing {
		l.missing(p)
		return nil
	}
	if x.Prev > p.log.last() {
		l.missing(p)
		return nil
	}
	if x.Prev > p.applied && p.log.term(x.Prev) != x.PrevTerm {
		err := l.cut(p, x.Prev)
		l.missing(p)
		return err
	}
	if x.Prev == p.applied && p.log.last() == p.applied {
		p.log.before = x.PrevTerm // a learner could not know it
	}
	upto, err := l.take(p, &x, body)
	if err != nil {
		return err
	}
	f.stored, f.fits, f.gap = max(f.stored, upto), true, false
	l.note(r, p, noteStored)
	return l.committed(p, min(x.Commit, upto))
}

// fromOwner checks that it is the row's owner who speaks; one that was it in an
// earlier term gets here only when the fence is broken.
func (l *Lane) fromOwner(p *part, r *Peer) error {
	if r.shard.name == p.row.Owner && !p.owned || l.cfg.Break&BreakFence != 0 {
		return nil
	}
	return errOwner
}

// unfenced is what an owner does with the entries of an earlier one when the
// fence is broken: it says that it has them.
func (p *part) unfenced(l *Lane, r *Peer, x *proto.Append) error {
	f := &p.follow
	f.source, f.term, f.stored = r, x.Term, x.Prev
	for x.Entries.Next(&l.in) {
		f.stored++
	}
	l.note(r, p, noteStored)
	return x.Entries.Err()
}

// committed applies what is committed, and sees whether a learner is done.
func (l *Lane) committed(p *part, commit proto.Index) error {
	if commit > p.applied {
		if err := l.applyTo(p, commit); err != nil {
			l.corrupt(p)
			return err
		}
		l.shelves.drop(&p.log, p.applied)
	}
	l.graduate(p)
	return nil
}

// missing says, once in a while, that what came does not fit.
func (l *Lane) missing(p *part) {
	f := &p.follow
	if f.gap && l.now-f.gapAt < patience {
		return // what is on its way does not fit either
	}
	f.gap, f.gapAt = true, l.now
	l.note(f.source, p, noteGap)
}

// take stores the entries of an Append that are new, and returns the index of its
// last. They are checked as far as one can without those before them: what is
// committed must be good.
func (l *Lane) take(p *part, x *proto.Append, body []byte) (proto.Index, error) {
	i := x.Prev
	for {
		left := x.Entries.Len()
		if !x.Entries.Next(&l.in) {
			return i, x.Entries.Err()
		}
		i++
		raw := body[len(body)-left : len(body)-x.Entries.Len()]
		if i <= p.applied || i <= p.log.last() && p.log.term(i) == x.EntryTerm {
			continue
		}
		if !l.sane(p, &l.in) {
			return i, errEntry
		}
		if i <= p.log.last() {
			if err := l.cut(p, i); err != nil {
				return i, err
			}
		}
		if p.log.size(p.applied) > 2*maxUnstored {
			return i, errBehind
		}
		l.shelves.put(&p.log, x.EntryTerm, raw)
		l.stats.Stored++
	}
}

// cut takes away entries that no other copy has: an owner of an earlier term sent
// them, and they were not committed.
func (l *Lane) cut(p *part, i proto.Index) error {
	if i <= p.follow.stored {
		return errCut
	}
	l.stats.Cut += uint64(p.log.last() - i + 1)
	l.shelves.cut(&p.log, i)
	return nil
}

// sane reports whether an entry could be one of an honest owner.
func (l *Lane) sane(p *part, e *proto.Entry) bool {
	if e.At >= maxIndex || e.Touched >= maxIndex || e.Left >= maxIndex || e.Committed >= maxIndex {
		return false
	}
	switch e.Kind {
	case proto.EntryMessage, proto.EntryRefusal, proto.EntryVoid, proto.EntryMet, proto.EntryPublisher:
		return e.Publisher-1 < maxNumber && len(e.Payload) <= proto.MaxPayload && e.Seq < maxIndex && e.Offset < maxIndex
	case proto.EntryDropped:
		return e.Publisher <= maxNumber
	case proto.EntryCreated, proto.EntryRoom:
		return proto.CheckRoom(e.Room) == nil && proto.PartitionOf(e.Room, l.cfg.Partitions) == p.number && e.Offset < maxIndex
	}
	return true
}

// corrupt gives up a copy that cannot be what others have.
func (l *Lane) corrupt(p *part) {
	l.stats.Corrupt++
	l.drop(p)
}

// learns takes a part of a copy.
func (l *Lane) learns(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseSnapshot(body)
	if err != nil {
		return err
	}
	f := &p.follow
	switch err := l.fromOwner(p, r); {
	case err != nil:
		return err
	case x.Index >= maxIndex:
		return errIndex
	case p.owned:
		return nil // the fence is broken
	case x.First && p.row.names(l.cfg.Self):
		return errLesson // who is in sync never begins again
	case x.First:
		l.beginLesson(p, r, &x)
	case p.copy != learning || f.source != r || x.Teaching != f.teaching:
		return nil // its beginning is not here
	case f.last || x.Index < f.tag:
		return errLesson
	}
	f.tag = x.Index
	for x.Entries.Next(&l.in) {
		if err := l.feed(p, &l.in); err != nil {
			l.corrupt(p)
			return err
		}
	}
	if err := x.Entries.Err(); err != nil {
		return err
	}
	if x.Last {
		f.last, f.wholeAt = true, f.tag
	}
	l.note(r, p, noteStored)
	l.graduate(p)
	return nil
}

func (l *Lane) beginLesson(p *part, r *Peer, x *proto.Snapshot) {
	l.drop(p)
	p.copy = learning
	p.applied = x.Index
	l.shelves.reset(&p.log, x.Index+1)
	p.follow.restart(p, p.follow.named || p.row.Learner == l.cfg.Self)
	p.follow.source, p.follow.term, p.follow.teaching = r, x.Term, x.Teaching
}

// graduate makes a whole copy of one that has learned everything.
func (l *Lane) graduate(p *part) {
	f := &p.follow
	if p.copy == learning && f.last && f.fits && f.stored >= f.wholeAt {
		p.copy = whole
		l.stats.Learned++
		l.note(f.source, p, noteStored)
	}
}

// feed takes an entry of a snapshot.
func (l *Lane) feed(p *part, e *proto.Entry) error {
	f := &p.follow
	if !l.sane(p, e) {
		return errLesson
	}
	switch e.Kind {
	case proto.EntryDropped: // the lesson begins: routers met from here on come as entries
		p.numbers, p.lastAt = max(p.numbers, e.Publisher), max(p.lastAt, e.At)
		return nil
	case proto.EntryPublisher:
		return p.feedPublisher(e)
	case proto.EntryRoom:
		return l.feedRoom(p, e)
	}
	rm := f.feeding
	if rm == nil || rm.name != string(e.Room) {
		return errLesson
	}
	if e.Kind == proto.EntryMessage {
		return l.feedMessage(p, rm, e)
	}
	rm.partial, rm.born, rm.head = false, f.tag, rm.log.Head()
	f.feeding = nil
	return nil
}

func (p *part) feedPublisher(e *proto.Entry) error {
	i, ok := p.findPublisher(e.Publisher)
	if ok || e.Publisher > p.numbers || len(p.pubs) >= 2*maxRouters {
		return errLesson
	}
	pub := &publisher{name: proto.NodeName(e.Name), number: e.Publisher, born: p.follow.tag, last: e.Committed, committed: e.Committed, left: e.Left}
	pub.refused = append(pub.refused, e.Refused[:min(len(e.Refused), maxRefused)]...)
	p.pubs = append(p.pubs, nil)
	copy(p.pubs[i+1:], p.pubs[i:])
	p.pubs[i] = pub
	return nil
}

// feedRoom begins a room, or begins it anew: what came of it is not kept any
// more.
func (l *Lane) feedRoom(p *part, e *proto.Entry) error {
	rm := l.lookup(p, e.Room)
	switch {
	case rm != nil && (rm.part != p || !rm.partial || rm.log.Epoch() != e.Epoch):
		return errLesson
	case rm == nil && len(l.rooms) >= maxFollowed*l.maxRooms:
		return errLesson
	case rm == nil:
		rm = l.create(p, e.Room, e.Epoch, p.follow.tag)
		rm.partial = true
	}
	l.store.Start(&rm.log, e.Offset)
	rm.touched, rm.born = time.Duration(e.Touched), p.follow.tag
	p.follow.feeding = rm
	return nil
}

func (l *Lane) feedMessage(p *part, rm *roomState, e *proto.Entry) error {
	if e.Offset != rm.log.Head()+1 {
		return errLesson
	}
	rm.born = p.follow.tag
	l.putMessage(rm, e)
	return nil
}
