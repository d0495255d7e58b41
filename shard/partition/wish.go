package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// Wishes appends what this lane's partitions want of the coordinator and is due:
// at once, and again every 200 ms until SetTable answers it. Whoever is wished to
// be added is waited for from now on (rule R4). A partition has a wish for each
// replica and one of its own, at most.
func (l *Lane) Wishes(wishes []proto.Wish, now time.Time) []proto.Wish {
	l.advance(now)
	l.wishing = slices.DeleteFunc(l.wishing, func(p *part) bool {
		before := len(wishes)
		wishes = l.wants(p, wishes)
		kinds := kindsOf(wishes[before:])
		switch d := &p.lead; {
		case kinds == 0:
			d.wishing, d.wished = false, 0
			return true
		case kinds&^d.wished == 0 && l.now < d.wishAt:
			wishes = wishes[:before]
		default:
			d.wished, d.wishAt = kinds, l.now+patience
			l.ask(p, wishes[before:])
		}
		return false
	})
	return wishes
}

func kindsOf(wishes []proto.Wish) (kinds uint8) {
	for i := range wishes {
		kinds |= 1 << wishes[i].Kind
	}
	return kinds
}

// ask has the owner wait for the learners that it wishes to be added.
func (l *Lane) ask(p *part, wishes []proto.Wish) {
	for i := range wishes {
		if wishes[i].Kind == proto.WishAdd {
			p.replica(wishes[i].Node).asked = true
		}
	}
}

// want has Wishes look at a partition.
func (l *Lane) want(p *part) {
	if p.owned && !p.lead.wishing {
		p.lead.wishing = true
		l.wishing = append(l.wishing, p)
	}
}

// wants appends what the owner of a partition wants now, due or not.
func (l *Lane) wants(p *part, wishes []proto.Wish) []proto.Wish {
	if !p.owned {
		return wishes
	}
	x := proto.Wish{Partition: p.number, Term: p.row.Term}
	if above := max(p.lead.fenced, p.promised); above > p.row.Term {
		if l.now-p.lead.fencedAt >= patience {
			x.Kind, x.Above = proto.WishRenew, above
			wishes = append(wishes, x)
		}
		return wishes
	}
	for _, rep := range p.lead.replicas {
		if x.Kind = l.wantsOf(rep); x.Kind != 0 {
			x.Node = rep.name
			wishes = append(wishes, x)
		}
	}
	if x.Kind = p.wantsMove(); x.Kind != 0 {
		x.Node = p.row.Learner
		wishes = append(wishes, x)
	}
	return wishes
}

// wantsOf is what the owner wants done about a replica; 0 for nothing.
func (l *Lane) wantsOf(x *replica) proto.WishKind {
	p := x.part
	switch {
	case x.awaited && x.lesson.whole && (x.asked || x.stored >= p.applied):
		return proto.WishAdd
	case !x.follower:
		return 0
	case x.peer == nil && l.now-x.linkless >= linkAge, l.stuck(x, stuckAge):
		return proto.WishOverdue
	case x.peer == nil && (x.wasUp || l.now-p.began >= patience):
		return proto.WishDrop
	}
	return 0
}

// stuck reports whether a replica has something to store, or to say, and has
// not for some time.
func (l *Lane) stuck(x *replica, age time.Duration) bool {
	owes := x.stored < x.part.log.last() || !x.heard || !x.follower && x.lesson.taught && !x.lesson.whole
	return x.peer != nil && x.begun && owes && l.now-x.progress >= age
}

// wantsMove is what the owner wants done about a hand-off; 0 for nothing.
func (p *part) wantsMove() proto.WishKind {
	switch d := &p.lead; {
	case d.thawed:
		return proto.WishUndo
	case d.frozen && p.drained():
		return proto.WishReady
	}
	return 0
}

// drained reports whether the next owner has everything.
func (p *part) drained() bool {
	if p.applied < p.log.last() {
		return false
	}
	for _, x := range p.lead.replicas {
		if x.follower && x.stored < p.applied {
			return false
		}
	}
	next := p.replica(p.row.Learner)
	return next != nil && next.follower
}

// setMove does what the row's move says: it has a learner taught, or has nothing
// sequenced any more because the next owner is in sync. A hand-off that took too
// long is not begun again until the row is seen without it.
func (l *Lane) setMove(p *part) {
	d := &p.lead
	next := p.row.Learner
	for _, x := range slices.Clone(d.replicas) {
		if !x.follower && !x.asked && x.name != next {
			l.retire(x)
			d.replicas = slices.DeleteFunc(d.replicas, func(o *replica) bool { return o == x })
		}
	}
	if next != "" && next != l.cfg.Self && p.replica(next) == nil {
		x := &replica{part: p, name: next, linkless: l.now}
		d.replicas = append(d.replicas, x)
		if r := l.linkTo(next, p); r != nil {
			l.linkReplica(x, r)
		}
	}
	freezes := p.row.Freezing && next != ""
	if !freezes || next != d.thawedFor {
		d.thawed, d.thawedFor = false, ""
	}
	switch {
	case freezes && !d.thawed && !d.frozen:
		d.frozen, d.frozenAt = true, l.now
	case !freezes && d.frozen:
		d.frozen = false
		l.letGo(p)
	}
	l.retain(p)
}

// watch looks for partitions that want something because of the time that
// passed, and for replicas that do not answer: at once where that is likely, and
// now and then everywhere, since thousands are looked at for nothing else.
func (l *Lane) watch() {
	l.uneasy = slices.DeleteFunc(l.uneasy, func(p *part) bool {
		l.watchOwned(p)
		p.lead.uneasy = p.isUneasy()
		return !p.lead.uneasy
	})
	for range (len(l.parts) + watchTicks - 1) / watchTicks {
		l.watched = (l.watched + 1) % len(l.parts)
		if p := &l.parts[l.watched]; !p.lead.uneasy {
			l.watchOwned(p)
			l.unease(p)
		}
	}
}

// isUneasy reports whether a partition waits for anything else than that a
// follower, which has answered in this term, stores what it was sent.
func (p *part) isUneasy() bool {
	d := &p.lead
	return p.owned && (d.frozen || d.thawed || d.fenced > p.row.Term || p.promised > p.row.Term ||
		slices.ContainsFunc(d.replicas, func(x *replica) bool { return !x.follower || x.peer == nil || !x.heard }))
}

// unease has every Tick look at a partition as long as it is uneasy.
func (l *Lane) unease(p *part) {
	if !p.lead.uneasy && p.isUneasy() {
		p.lead.uneasy = true
		l.uneasy = append(l.uneasy, p)
	}
}

func (l *Lane) watchOwned(p *part) {
	if !p.owned {
		return
	}
	d := &p.lead
	if d.frozen && l.now-d.frozenAt >= freezeAge {
		d.frozen, d.thawed, d.thawedFor = false, true, p.row.Learner
		l.stats.Undone++
		l.letGo(p)
	}
	for _, x := range d.replicas {
		l.nudge(x)
	}
	if !d.wishing && (len(d.replicas) > 0 || d.thawed || d.fenced > p.row.Term || p.promised > p.row.Term) {
		l.scratch = l.wants(p, l.scratch[:0])
		if len(l.scratch) > 0 {
			l.want(p)
		}
	}
}

// nudge sends a replica once more what it does not answer; a learner that still
// says nothing begins again.
func (l *Lane) nudge(x *replica) {
	switch {
	case !x.follower && !x.asked && l.stuck(x, stuckAge):
		l.stats.Relearned++
		l.restartLesson(x)
	case l.stuck(x, resendAge) && l.now-x.resent >= resendAge && x.sent >= x.stored:
		x.sent, x.due, x.probed, x.resent = x.stored, true, false, l.now
		l.send(x)
	}
}
