package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// replica is what the owner of a partition knows of one that copies it: a
// follower of the row, or a learner.
//
// Invariant: stored is never above what it has of this log, in this term.
type replica struct {
	part     *part
	name     proto.NodeName
	peer     *Peer // nil while there is no link
	follower bool  // the row names it
	awaited  bool  // a learner that nothing is committed without, so that it has all when it is asked for
	asked    bool  // to be added: until a newer term it is waited for (rule R4); awaited is set

	begun  bool        // it can be sent entries
	stored proto.Index // it said so
	sent   proto.Index // entries up to here are on their way
	heard  bool        // it answered in this term, on this link, and of this lesson
	probed bool        // it was sent entries there; until it is heard, no more
	due    bool        // a frame is due, with entries or without
	told   proto.Index // what it was told to be committed

	linkless time.Duration // since when there is no link
	progress time.Duration // since when it stores nothing
	resent   time.Duration
	wasUp    bool // it had a link in this term

	lesson lesson
	pupil  bool // of the peer: it can be taught now

	queued bool
	next   *replica // of those of the peer that have something to be sent
}

// replica is that of a node; nil if it has none.
func (p *part) replica(name proto.NodeName) *replica {
	for _, x := range p.lead.replicas {
		if x.name == name {
			return x
		}
	}
	return nil
}

// setReplicas makes the replicas of a new term. Followers are taken to have what
// is known to be committed, and not more: what they had beyond may have been cut.
func (l *Lane) setReplicas(p *part) {
	old := p.lead.replicas
	p.lead.replicas = nil
	for _, name := range p.row.Followers {
		if name == p.row.Owner || p.replica(name) != nil {
			continue
		}
		x := &replica{part: p, name: name, stored: p.applied}
		if i := slices.IndexFunc(old, func(o *replica) bool { return o.name == name && (o.follower || o.lesson.whole) }); i >= 0 {
			x = old[i]
			old = slices.Delete(old, i, i+1)
		}
		x.begun, x.follower = true, true
		l.adopt(x)
	}
	for _, x := range old {
		if x.name == p.row.Learner && x.lesson.whole && !x.follower {
			x.lesson.whole = false // in this term, until it says so: the row may have been without it for a while
			l.adopt(x)
		} else {
			l.retire(x)
		}
	}
}

// adopt takes a replica into a new term: it is sent again what it has not stored.
func (l *Lane) adopt(x *replica) {
	p := x.part
	p.lead.replicas = append(p.lead.replicas, x)
	x.awaited, x.asked, x.wasUp = false, false, false
	x.stored = min(x.stored, p.applied)
	x.linkless = l.now
	if x.peer != nil {
		l.linkReplica(x, x.peer)
	} else if r := l.linkTo(x.name, p); r != nil {
		l.linkReplica(x, r)
	}
}

// linkTo is the link of a shard over which a partition's frames go.
func (l *Lane) linkTo(name proto.NodeName, p *part) *Peer {
	s := l.shards[name]
	if s == nil {
		return nil
	}
	for _, r := range s.peers {
		if r.carries(p) {
			return r
		}
	}
	return nil
}

// linkReplica begins a link to a replica, or a term on it: it is sent what it has
// not stored, or its lesson from the beginning.
func (l *Lane) linkReplica(x *replica, r *Peer) {
	x.peer, x.wasUp = r, true
	x.sent, x.heard, x.probed, x.due = x.stored, false, false, true
	x.progress, x.resent = l.now, l.now
	l.teachLater(x)
	l.send(x)
	l.unease(x.part)
}

// unlinkReplica ends a link to a replica.
func (l *Lane) unlinkReplica(x *replica) {
	x.peer, x.queued, x.next = nil, false, nil
	x.linkless, x.pupil = l.now, false
	if !x.follower && !x.lesson.whole {
		x.forgetLesson()
	}
	l.unawait(x)
	if l.cfg.Break&BreakDrop != 0 {
		l.commit(x.part)
	}
	l.want(x.part)
	l.unease(x.part)
}

// retire ends a replica.
func (l *Lane) retire(x *replica) {
	if r := x.peer; r != nil {
		if x.queued {
			l.unsend(x)
		}
		r.dismiss(x)
	}
	x.peer = nil
}

// await has the owner wait for a learner from now on, if its copy is whole and
// little is missing: only so can it be asked for with all that is committed, while
// more is appended all the time.
func (l *Lane) await(x *replica) {
	if x.follower || x.awaited || !x.heard || !x.lesson.whole {
		return
	}
	x.awaited = x.part.log.size(x.stored) <= maxNear || l.now-x.lesson.wholeSince >= nearAge
}

// unawait ends that, unless the learner was asked for.
func (l *Lane) unawait(x *replica) {
	if x.awaited && !x.asked {
		x.awaited = false
		l.commit(x.part)
	}
}

// send puts a replica among those that its peer is to be served, if there is
// something for it.
func (l *Lane) send(x *replica) {
	r := x.peer
	if r == nil || x.queued || !x.begun || x.probed && !x.heard || !x.due && x.sent >= x.part.log.last() {
		return
	}
	x.queued = true
	if r.sendsEnd != nil {
		r.sendsEnd.next = x
	} else {
		r.sends = x
	}
	r.sendsEnd = x
	l.list(r)
}

// unsend takes a replica out of what its peer is to be served.
func (l *Lane) unsend(x *replica) {
	r := x.peer
	var before *replica
	for o := r.sends; o != x; o = o.next {
		before = o
	}
	if before != nil {
		before.next = x.next
	} else {
		r.sends = x.next
	}
	if r.sendsEnd == x {
		r.sendsEnd = before
	}
	x.queued, x.next = false, nil
}

// replicate fills a frame per partition in turn, and what space is left with
// lessons.
func (f *filler) replicate() {
	if f.entries() {
		f.teach()
		f.entries() // a lesson that fits into a frame is whole with the first of them
	}
}

// entries reports whether all that is due fitted.
func (f *filler) entries() bool {
	for x := f.r.sends; x != nil; x = f.r.sends {
		if !f.appendTo(x) {
			return false
		}
		f.l.unsend(x)
		f.l.send(x) // behind the others
	}
	return true
}

// appendHead is the size of an Append without entries.
const appendHead = proto.HeaderSize + 2 + 8 + 4*8

// appendTo sends one Append. It reports false when there is no space.
func (f *filler) appendTo(x *replica) bool {
	p := x.part
	g := &p.log
	if x.sent+1 < g.first { // it lost what it had stored: it will be overdue
		x.due, x.sent = false, g.last()
		return true
	}
	if len(f.b)+appendHead > f.end {
		return false
	}
	limit := maxDeliver
	if !x.heard {
		limit = maxProbe
	}
	upto := g.run(x.sent, min(f.end-len(f.b), limit)-appendHead)
	if x.heard && upto == x.sent && x.sent < g.last() { // a single big one
		if upto = x.sent + 1; len(g.bytes(x.sent, upto)) > min(f.end-len(f.b), proto.MaxFrame)-appendHead {
			return false
		}
	}
	a := proto.Append{Partition: p.number, Term: p.row.Term, Prev: x.sent, PrevTerm: g.term(x.sent), Commit: p.applied}
	a.EntryTerm = g.term(min(x.sent+1, upto))
	b, start := proto.BeginAppend(f.b, &a)
	f.b = proto.End(append(b, g.bytes(x.sent, upto)...), start)
	x.sent, x.due, x.told, x.probed = upto, false, p.applied, true
	return true
}

// run is the last entry behind after up to which all are of one term and take no
// more than limit bytes; after when there is none.
func (g *log) run(after proto.Index, limit int) proto.Index {
	upto := after
	for upto < g.last() && g.term(upto+1) == g.term(after+1) && g.end(upto+1)-g.end(after) <= uint64(max(limit, 0)) {
		upto++
	}
	return upto
}

// stored takes what a replica says to have.
func (l *Lane) stored(p *part, r *Peer, body []byte) error {
	s, err := proto.ParseStored(body)
	if err != nil {
		return err
	}
	x := p.replica(r.shard.name)
	if x == nil || x.peer != r || !l.lessonHeard(x, &s) {
		return nil
	}
	if s.Index > p.log.last() {
		return errIndex
	}
	if !x.heard {
		x.heard = true
		l.teachLater(x)
	}
	if s.Gap && s.Index < x.sent {
		x.sent, x.due = s.Index, true
	}
	if s.Index > x.stored {
		x.stored, x.progress = s.Index, l.now
		x.sent = max(x.sent, x.stored)
	}
	l.await(x)
	l.commit(p)
	l.retain(p)
	l.send(x)
	if x.awaited || p.lead.frozen {
		l.want(p)
	}
	return nil
}

// retain drops of the log what is applied and stored by all. A learner that
// nobody waits for must not hold up too much of it: it begins again.
func (l *Lane) retain(p *part) {
	floor := p.applied
	for _, x := range p.lead.replicas {
		if !x.begun || x.stored >= floor {
			continue
		}
		if !x.follower && !x.awaited && p.log.size(max(x.stored, p.log.first-1))-p.log.size(p.applied) > maxRetained {
			l.stats.Relearned++
			l.restartLesson(x)
			continue
		}
		floor = x.stored
	}
	l.shelves.drop(&p.log, floor)
}

// tellLater has the followers hear what is committed, if nothing that is
// appended tells them before.
func (l *Lane) tellLater(p *part) {
	if len(p.lead.replicas) > 0 && !p.lead.untold {
		p.lead.untold, p.lead.untoldAt = true, l.now
		l.untold = append(l.untold, p)
	}
}

// tell sends what is committed to those that have not heard of it for a while.
func (l *Lane) tell() {
	n := 0
	for ; n < len(l.untold) && l.now-l.untold[n].lead.untoldAt >= tellAge; n++ {
		p := l.untold[n]
		p.lead.untold = false
		for _, x := range p.lead.replicas {
			if x.told < p.applied {
				x.due = true
				l.send(x)
			}
		}
	}
	l.untold = slices.Delete(l.untold, 0, n)
}
