package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// Row is what the Table says of one partition.
type Row struct {
	Owner     proto.NodeName   // "" for none
	Followers []proto.NodeName // in sync; not changed afterwards
	Term      proto.Term
	Since     proto.Term // in which the partition's log began: a reset, and nothing else, changes it

	// Learner is whom a move has copy the partition, "" for none. It may be a
	// follower already.
	Learner proto.NodeName
	// Freezing says that the Learner is in sync and is to be the next owner.
	Freezing bool
}

// copyKind is what there is of a partition.
type copyKind uint8

const (
	nothing copyKind = iota
	learning
	whole
)

// SetTable tells the lane what the Table says of a partition. Rows that are not
// news are ignored, and so are partitions of other lanes. Whom the row names, and
// who has held a whole copy in a term not below its Since, keeps it, however many
// terms were missed. Whom the first row of a log names begins with an empty one.
// All others drop what they have, unless they learn; who is named and has no copy
// does nothing, and the owner will find that it does not follow.
func (l *Lane) SetTable(number proto.Partition, row Row, now time.Time) {
	l.advance(now)
	p := l.part(number)
	if p == nil || row.Term < p.row.Term {
		return
	}
	if row.Term > p.row.Term || row.Owner != p.row.Owner || row.Since != p.row.Since || !slices.Equal(row.Followers, p.row.Followers) {
		l.newRow(p, row)
	} else if row.Learner != p.row.Learner || row.Freezing != p.row.Freezing {
		l.newMove(p, row)
	}
}

// keeps reports whether the copy that we have is one that a row takes for whole.
func (p *part) keeps(self proto.NodeName, row *Row) bool {
	if p.copy != whole || row.Since > p.row.Term {
		return false
	}
	return row.names(self) || row.Learner == self && row.Owner == p.row.Owner
}

// names reports whether a node is the owner or a follower.
func (r *Row) names(self proto.NodeName) bool {
	return self != "" && (r.Owner == self || slices.Contains(r.Followers, self))
}

func (l *Lane) newRow(p *part, row Row) {
	self := l.cfg.Self
	keeps := p.keeps(self, &row)
	owner := row.Owner == self && self != ""
	switch {
	case !keeps:
		l.drop(p)
	case p.owned && !owner:
		if p.lead.frozen && row.Owner == p.row.Learner {
			l.stats.Handover.Count(l.now - p.lead.frozenAt)
		}
		l.demote(p)
	}
	p.row = row
	p.began = l.now
	if p.promised <= row.Term {
		p.promised = 0
	}
	if !keeps && row.names(self) && row.Since == row.Term {
		p.copy = whole // of a log that begins now
	}
	p.follow.restart(p, row.Learner == self)
	if owner && p.copy == whole {
		l.lead(p)
		l.want(p)
	}
	l.release(p)
}

// lead begins the owner's part of a term.
func (l *Lane) lead(p *part) {
	d := &p.lead
	if p.owned {
		l.dropFetches(p)
	} else {
		l.promote(p)
	}
	d.settled = l.now + settleAge
	d.fenced, d.fencedAt, d.wished, d.wishAt = 0, 0, 0, 0
	l.setReplicas(p)
	l.setMove(p)
	l.commit(p)
	l.unease(p)
}

// promote makes an owner of who has a whole copy: what its list holds is noted,
// and will be committed again (rule R6). An entry that does not fit cannot have
// been committed by an honest owner; it is cut.
func (l *Lane) promote(p *part) {
	at := p.lastAt
	for i := p.applied + 1; i <= p.log.last(); i++ {
		err := proto.ParseEntry(p.log.bytes(i-1, i), &l.in)
		if err == nil {
			err = l.noteEntry(p, i, &l.in)
		}
		if err != nil {
			l.stats.Corrupt++
			l.shelves.cut(&p.log, i)
			break
		}
		at = l.in.At
	}
	p.owned = true
	l.owning += p.rooms
	p.lead.start = l.now - time.Duration(at)
	for rm := p.first; rm != nil; rm = rm.next {
		l.reschedule(rm)
	}
}

// demote makes a follower of an owner: it forgets what it noted and keeps its
// list. Who is attached is told that the partition moved.
func (l *Lane) demote(p *part) {
	l.detachAll(p)
	l.stopLeading(p)
	for rm := p.first; rm != nil; {
		next := rm.next
		l.wheel.remove(rm)
		rm.head = rm.log.Head()
		if rm.pending {
			l.erase(rm)
		}
		rm = next
	}
	for _, rm := range p.dying {
		if rm.dying = false; !rm.pending {
			l.rooms[rm.name] = rm
		}
	}
	p.dying = nil
	p.pubs = slices.DeleteFunc(p.pubs, func(pub *publisher) bool {
		if pub.pending {
			p.numbers = min(p.numbers, pub.number-1)
		}
		return pub.pending
	})
	for _, pub := range p.pubs {
		pub.last = pub.committed
		pub.turning, pub.dying = false, false
		pub.peer, pub.gap, pub.results = nil, 0, nil
	}
}

// stopLeading ends the owner's part.
func (l *Lane) stopLeading(p *part) {
	for _, x := range p.lead.replicas {
		l.retire(x)
	}
	for _, r := range l.all {
		r.pubs[p.local] = nil
	}
	l.owning -= p.rooms
	p.owned = false
	wishing, untold, uneasy := p.lead.wishing, p.lead.untold, p.lead.uneasy
	p.lead = lead{wishing: wishing, untold: untold, uneasy: uneasy}
}

// detachAll takes all cursors away and says so.
func (l *Lane) detachAll(p *part) {
	for rm := p.first; rm != nil; rm = rm.next {
		for c := rm.cursors; c != nil; c = rm.cursors {
			l.note(c.peer, p, noteMoved)
			l.removeCursor(c)
		}
	}
}

// drop forgets all there is of a partition but its row.
func (l *Lane) drop(p *part) {
	if p.copy == nothing {
		return
	}
	if p.owned {
		l.detachAll(p)
		l.stats.Forgotten += uint64(p.rooms)
		l.stopLeading(p)
	}
	p.dying = nil
	for rm := p.first; rm != nil; rm = p.first {
		l.erase(rm)
	}
	p.pubs, p.numbers = nil, 0
	l.shelves.reset(&p.log, 1)
	p.copy, p.applied, p.lastAt = nothing, 0, 0
	p.follow = follow{named: p.follow.named, teaching: p.follow.teaching}
}

// newMove takes what changed of a row beside its term: the move.
func (l *Lane) newMove(p *part, row Row) {
	p.row = row
	named := row.Learner == l.cfg.Self
	switch {
	case p.owned:
		l.setMove(p)
		l.commit(p)
		l.want(p)
		l.unease(p)
	case named:
		p.follow.named = true
	case p.follow.named:
		p.follow.named = false
		if p.copy == learning { // a whole one may be on its way into the row
			l.drop(p)
		}
	}
}

// dropFetches ends the fetches of a partition that stays with a new term: the
// routers ask again in it, and could not tell two answers apart.
func (l *Lane) dropFetches(p *part) {
	for rm := p.first; rm != nil; rm = rm.next {
		for c := rm.cursors; c != nil; {
			next := c.later
			if c.fetch {
				l.removeCursor(c)
			}
			c = next
		}
	}
}

// Promise has a node take nothing below a term any more (rule R2), until SetTable
// tells that term or a higher one. It promises iff it holds a whole copy and knows
// no term as high; a promise of the same term may be had again.
func (l *Lane) Promise(number proto.Partition, term proto.Term, now time.Time) proto.PromiseStatus {
	l.advance(now)
	p := l.part(number)
	switch {
	case p == nil || p.copy != whole || !p.row.names(l.cfg.Self):
		return proto.NoCopy
	case term <= p.row.Term || term < p.promised:
		return proto.KnowsHigher
	}
	if term > p.promised {
		p.promised = term
		p.lead.fencedAt = l.now
		l.stats.Promised++
		l.unease(p)
	}
	return proto.Promised
}

// fenced takes the word of a peer that knows a newer term than an owner spoke
// in: the owner slept, or was cut off, and may be none any more. Only the Table
// says so for certain, and only that is acted on: one that errs must not stop a
// partition. Who owns nothing has nothing to stop. If the Table does not tell, a
// follower's promise is asked to be followed up.
func (l *Lane) fenced(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseSignal(proto.FrameFenced, body)
	if err != nil || !p.owned || x.Term <= p.row.Term {
		return err
	}
	l.stats.Outdated++
	l.hearOf(p, x.Term)
	if r.shard == nil || x.Term <= p.lead.fenced {
		return nil
	}
	if rep := p.replica(r.shard.name); rep != nil && (rep.follower || rep.asked) {
		if p.lead.fenced == 0 {
			p.lead.fencedAt = l.now
		}
		p.lead.fenced = x.Term
		l.unease(p)
	}
	return nil
}

// hearOf remembers a term that SetTable has not told yet.
func (l *Lane) hearOf(p *part, term proto.Term) {
	p.told = max(p.told, term)
	if !p.behind {
		p.behind = true
		l.behind = append(l.behind, p)
	}
}

// NeedTable names a partition of which peers speak in a higher term than
// SetTable has told, and that term: the Table is to be fetched. It does so until
// SetTable tells that term, or a higher one; need is false when there is no such
// partition.
func (l *Lane) NeedTable() (number proto.Partition, term proto.Term, need bool) {
	for n := len(l.behind); n > 0; n = len(l.behind) {
		p := l.behind[n-1]
		if p.told > p.row.Term {
			return p.number, p.told, true
		}
		p.behind = false
		l.behind = l.behind[:n-1]
	}
	return 0, 0, false
}
