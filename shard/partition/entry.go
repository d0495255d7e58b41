package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// What an owner can write into a log that no honest one writes. Whoever finds
// it drops its copy: it could only differ from the others.
var (
	errEntry     = errors.New("entry does not fit its log")
	errEntryRoom = errors.New("entry is about a room that does not exist, or exists already")
	errPublisher = errors.New("entry is of a publisher that does not exist, or exists already")
	errOffset    = errors.New("entry is not the next message of its room")
)

// append puts an entry at the end of an owned partition's log: it is noted now,
// and applied as soon as it is committed, which may be now as well. Who appends
// sets all of l.out but its time.
func (l *Lane) append(p *part) {
	l.out.At = uint64(l.logTime(p))
	before := p.log.last()
	size := proto.EntrySize(&l.out)
	l.shelves.encode(&p.log, p.row.Term, &l.out)
	if err := l.noteEntry(p, before+1, &l.out); err != nil {
		panic(fmt.Sprintf("partition %d: append %s: %v", p.number, l.out.Kind, err))
	}
	l.stats.AppendedBytes += uint64(size)
	p.lead.lately, p.lead.latelyAt = p.lately(l.ticks)+uint32(size), l.ticks
	if p.lead.timed == 0 && len(p.lead.replicas) > 0 {
		p.lead.timed, p.lead.timedAt = before+1, l.now
	}
	for _, x := range p.lead.replicas {
		if x.stored == before {
			x.progress = l.now // it had nothing to do until now
		}
		l.send(x)
	}
	l.commit(p)
	if !p.lead.full && p.log.size(p.applied) > maxUncommitted {
		p.lead.full = true
	}
}

// commit takes what is stored by all who must have it as committed (rule R1):
// the followers of the row, and the learners that are to be added (rule R4). One
// that promised a higher term commits nothing (rule R2).
func (l *Lane) commit(p *part) {
	upto := p.log.last()
	if l.cfg.Break&BreakCommit == 0 {
		if 1+len(p.row.Followers) < l.cfg.MinCopies || p.promised > p.row.Term {
			return
		}
		for _, x := range p.lead.replicas {
			if l.waitsFor(x) {
				upto = min(upto, x.stored)
			}
		}
	}
	if upto <= p.applied {
		return
	}
	if err := l.applyTo(p, upto); err != nil {
		panic(fmt.Sprintf("partition %d: apply %d: %v", p.number, p.applied+1, err))
	}
	if p.lead.timed != 0 && p.lead.timed <= upto {
		p.lead.timed = 0
		l.stats.Commit.Count(l.now - p.lead.timedAt)
	}
	if len(p.lead.unsure) > 0 {
		l.answerSure(p)
	}
	l.retain(p)
	l.tellLater(p)
	for _, x := range p.lead.replicas {
		l.teachLater(x) // the copy may have been ahead of its log
	}
	if p.lead.full && p.log.size(p.applied) <= maxUncommitted/2 {
		p.lead.full = false
		l.letGo(p)
	}
}

// waitsFor reports whether nothing is committed that a replica has not stored.
func (l *Lane) waitsFor(x *replica) bool {
	if x.follower {
		return l.cfg.Break&BreakDrop == 0 || x.peer != nil
	}
	return x.awaited && l.cfg.Break&BreakLearner == 0
}

// applyTo applies the entries up to one that is committed and in the log. Where
// an entry fails, that before it is the last that is applied.
func (l *Lane) applyTo(p *part, upto proto.Index) error {
	for i := p.applied + 1; i <= upto; i++ {
		if err := proto.ParseEntry(p.log.bytes(i-1, i), &l.in); err != nil {
			return err
		}
		if !p.owned { // an owner noted it when it was appended
			if err := l.noteEntry(p, i, &l.in); err != nil {
				return err
			}
		}
		if err := l.applyEntry(p, i, &l.in); err != nil {
			return err
		}
		p.applied, p.lastAt = i, l.in.At
	}
	return nil
}

// unsure reports whether an entry may be about what the copy does not have yet,
// or no more: it is, or was, learned, and what is learned may be ahead of the log.
func (p *part) unsure(i proto.Index) bool { return p.copy != whole || i <= p.follow.wholeAt }

// noteEntry takes of an entry what must be known before it is committed.
func (l *Lane) noteEntry(p *part, i proto.Index, e *proto.Entry) error {
	switch e.Kind {
	case proto.EntryMessage:
		return cmp.Or(l.noteMessage(p, i, e), l.noteSeq(p, i, e))
	case proto.EntryRefusal, proto.EntryVoid:
		return l.noteSeq(p, i, e)
	case proto.EntryCreated:
		return l.noteCreated(p, i, e)
	case proto.EntryForgotten:
		return l.noteForgotten(p, i, e)
	case proto.EntryMet:
		return l.noteMet(p, i, e)
	case proto.EntryLeft, proto.EntryDropped:
		return l.noteGone(p, i, e)
	case proto.EntryTrimmed:
		return nil
	}
	return errEntry
}

func (l *Lane) noteMessage(p *part, i proto.Index, e *proto.Entry) error {
	rm, err := l.find(p, e.Room)
	switch {
	case err != nil:
		return err
	case rm == nil && !p.unsure(i):
		return errEntryRoom
	case rm == nil || rm.partial || i <= rm.born:
		return nil
	case e.Offset != rm.head+1:
		return errOffset
	}
	rm.head = e.Offset
	return nil
}

func (l *Lane) noteSeq(p *part, i proto.Index, e *proto.Entry) error {
	pub := p.publisher(e.Publisher)
	if pub == nil {
		return p.lacks(i, errPublisher)
	}
	if i > pub.born {
		pub.last = max(pub.last, e.Seq)
	}
	return nil
}

// lacks is err, unless what an entry is about may still come or be gone.
func (p *part) lacks(i proto.Index, err error) error {
	if p.unsure(i) {
		return nil
	}
	return err
}

func (l *Lane) noteCreated(p *part, i proto.Index, e *proto.Entry) error {
	rm, err := l.find(p, e.Room)
	if err != nil {
		return err
	}
	switch {
	case rm != nil && i <= rm.born:
		return nil
	case rm != nil || len(l.rooms) >= maxFollowed*l.maxRooms:
		return errEntryRoom
	}
	rm = l.create(p, e.Room, e.Epoch, i)
	rm.touched = time.Duration(e.At)
	rm.pending = true
	return nil
}

// noteForgotten takes a room out of sight: who asks for it from now on gets
// another life of it, and that begins behind this one's end.
func (l *Lane) noteForgotten(p *part, i proto.Index, e *proto.Entry) error {
	rm, err := l.find(p, e.Room)
	switch {
	case err != nil:
		return err
	case rm == nil:
		return p.lacks(i, errEntryRoom)
	case i <= rm.born:
		return nil
	}
	l.hide(rm)
	l.wheel.remove(rm)
	rm.dying = true
	p.dying = append(p.dying, rm)
	return nil
}

// noteMet gives a router its number. One that has one, and had left, is back.
func (l *Lane) noteMet(p *part, i proto.Index, e *proto.Entry) error {
	if pub := p.publisher(e.Publisher); pub != nil {
		switch {
		case i <= pub.born:
			return nil
		case string(pub.name) != string(e.Name):
			return errPublisher
		}
		pub.turning = true
		return nil
	}
	if e.Publisher <= p.numbers {
		return p.lacks(i, errPublisher)
	}
	if len(p.pubs) >= 2*maxRouters {
		return errPublisher
	}
	p.numbers = e.Publisher
	p.pubs = append(p.pubs, &publisher{name: l.routerName(e.Name), number: e.Publisher, born: i, pending: true})
	return nil
}

func (l *Lane) noteGone(p *part, i proto.Index, e *proto.Entry) error {
	pub := p.publisher(e.Publisher)
	switch {
	case pub == nil:
		return p.lacks(i, errPublisher)
	case i <= pub.born:
		return nil
	case e.Kind == proto.EntryLeft:
		pub.turning = true
		return nil
	}
	pub.dying = true
	l.forgetNumber(p, pub)
	return nil
}

// applyEntry has an entry, committed and noted, take effect.
func (l *Lane) applyEntry(p *part, i proto.Index, e *proto.Entry) error {
	switch e.Kind {
	case proto.EntryMessage:
		l.applyMessage(p, i, e)
		l.applySeq(p, i, e)
	case proto.EntryRefusal, proto.EntryVoid:
		l.applySeq(p, i, e)
	case proto.EntryCreated:
		l.applyCreated(p, i, e)
	case proto.EntryTrimmed:
		if rm := l.living(p, i, e.Room); rm != nil {
			l.store.Trim(&rm.log, time.Duration(e.At))
			l.reschedule(rm)
		}
	case proto.EntryForgotten:
		l.applyForgotten(p, i, e)
	case proto.EntryMet, proto.EntryLeft, proto.EntryDropped:
		l.applyPublisher(p, i, e)
	}
	return nil
}

// living is the room that an entry is applied to; nil when it has the entry
// already, or is not to be had. Lives of a name end in order, so a life that is
// noted as forgotten comes before one that is not.
func (l *Lane) living(p *part, i proto.Index, name []byte) *roomState {
	rm := l.lookup(p, name)
	for _, d := range p.dying {
		if d.name == string(name) {
			rm = d
			break
		}
	}
	if rm == nil || rm.part != p || rm.partial || rm.pending || i <= rm.born {
		return nil
	}
	return rm
}

func (l *Lane) applyMessage(p *part, i proto.Index, e *proto.Entry) {
	rm := l.living(p, i, e.Room)
	if rm == nil {
		return
	}
	l.putMessage(rm, e)
	rm.touched = max(rm.touched, time.Duration(e.At))
	if p.owned {
		l.stats.Published++
		if l.watching && !rm.paced {
			l.pace(rm)
		}
		l.wake(rm)
	}
}

func (l *Lane) putMessage(rm *roomState, e *proto.Entry) {
	m := room.Message{Kind: e.Message, Publisher: e.Publisher, Conn: e.Conn, At: time.Duration(e.At), Payload: e.Payload}
	l.store.Append(&rm.log, &m)
	l.store.Trim(&rm.log, m.At)
}

func (l *Lane) applySeq(p *part, i proto.Index, e *proto.Entry) {
	pub := p.publisher(e.Publisher)
	if pub == nil || i <= pub.born {
		return
	}
	pub.committed = max(pub.committed, e.Seq)
	pub.left = 0
	if e.Kind == proto.EntryRefusal {
		pub.refuse(e.Seq, e.Code)
		if p.owned {
			l.stats.Refused++
		}
	}
	l.note(pub.peer, p, noteAck)
}

func (l *Lane) applyCreated(p *part, i proto.Index, e *proto.Entry) {
	rm := l.lookup(p, e.Room)
	for _, d := range p.dying {
		if d.name == string(e.Room) {
			rm = d
			break
		}
	}
	if rm == nil || rm.part != p || rm.born != i || !rm.pending {
		return
	}
	rm.pending = false
	if !p.owned {
		return
	}
	l.stats.Created++
	l.reschedule(rm)
	l.serve(rm)
}

func (l *Lane) applyForgotten(p *part, i proto.Index, e *proto.Entry) {
	k := slices.IndexFunc(p.dying, func(d *roomState) bool { return d.name == string(e.Room) })
	if k < 0 || i <= p.dying[k].born {
		return
	}
	rm := p.dying[k]
	p.dying = slices.Delete(p.dying, k, k+1)
	if len(p.dying) == 0 {
		p.dying = nil
	}
	l.erase(rm)
}

func (l *Lane) applyPublisher(p *part, i proto.Index, e *proto.Entry) {
	k, ok := p.findPublisher(e.Publisher)
	if !ok {
		return
	}
	switch pub := p.pubs[k]; {
	case e.Kind == proto.EntryDropped && pub.dying:
		p.pubs = slices.Delete(p.pubs, k, k+1)
	case i < pub.born:
	case e.Kind == proto.EntryLeft && i > pub.born:
		pub.left, pub.turning = e.At+1, false
	case e.Kind == proto.EntryMet:
		pub.left, pub.turning, pub.pending = 0, false, false
	}
}

// wake has the cursors of a room served that have something to read by what was
// applied: one per router, so a million members behind ten routers cost ten.
func (l *Lane) wake(rm *roomState) {
	if rm.bucket == 0 || rm.relaxed && rm.log.Windowed() {
		l.wheel.remove(rm)
		l.schedule(rm)
	}
	l.serve(rm)
}

// serve has a room's cursors served, but for fetches that have to wait.
func (l *Lane) serve(rm *roomState) {
	for c := rm.cursors; c != nil; c = c.later {
		if !c.waits() {
			l.ready(c)
		}
	}
}

// reschedule puts a room that is in no bucket into the wheel.
func (l *Lane) reschedule(rm *roomState) {
	if rm.part.owned && rm.bucket == 0 {
		l.schedule(rm)
	}
}
