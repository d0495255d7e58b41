package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// heldFrame is a frame of a term that the Table has not told yet.
type heldFrame struct {
	peer *Peer
	typ  proto.FrameType
	term proto.Term
	body []byte
}

// hold is a peer that was told to keep its publishes, from seq on.
type hold struct {
	peer *Peer
	term proto.Term
	seq  proto.Seq
}

// SetTable tells the lane what the Table says of a partition. Rows that are not
// news are ignored, and so are partitions of other lanes. A partition that is
// gained begins with no rooms: epochs are minted when rooms are asked for. One
// that is lost is dropped. One that stays keeps everything, however many terms
// were missed, if the owner has been the owner since a term, at most the last
// that it was told: else another may have owned it in between. Followers have
// no part in what is committed yet: an entry commits when it is appended.
func (l *Lane) SetTable(number proto.Partition, owner proto.NodeName, _ []proto.NodeName, term, since proto.Term, now time.Time) {
	l.advance(now)
	p := l.part(number)
	owned := owner == l.cfg.Self && owner != ""
	if p == nil || term < p.term || term == p.term && owned == p.owned {
		return
	}
	if owned && p.owned && since > p.term {
		p.owned = false // it was another's, or nobody's, in a term that we missed: what we have is its past
		l.stats.Owned--
		l.drop(p)
	}
	p.term = term
	switch {
	case owned && !p.owned:
		p.owned, p.start, p.index = true, l.now, 0
		l.stats.Owned++
	case !owned && p.owned:
		p.owned = false
		l.stats.Owned--
		l.drop(p)
	case owned:
		l.dropFetches(p)
	}
	p.settled = l.now + settleAge
	l.release(p)
}

// drop forgets all rooms and publishers of a partition. Who was attached is
// told that it moved.
func (l *Lane) drop(p *part) {
	for rm := p.first; rm != nil; rm = p.first {
		for c := rm.cursors; c != nil; c = rm.cursors {
			l.note(c.peer, p, noteMoved)
			l.removeCursor(c)
		}
		l.forget(rm)
	}
	for _, r := range l.all {
		r.pubs[p.local] = nil
	}
	clear(p.log)
	p.log = p.log[:0]
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

// hold keeps a frame of a higher term until SetTable tells that term.
func (l *Lane) hold(p *part, r *Peer, typ proto.FrameType, term proto.Term, body []byte) error {
	most := 2
	if typ == proto.FramePublish {
		most = 1
		if i := p.holding(r); i >= 0 && p.holds[i].term >= term {
			l.stats.HeldDropped++
			return nil // its order is kept: nothing behind a dropped one is taken
		} else if i >= 0 { // it began again in a newer term
			p.holds = slices.Delete(p.holds, i, i+1)
		}
	}
	if p.heldBytes+len(body) <= most*maxHeld && l.heldAll+len(body) <= most*maxHeldAll {
		p.held = append(p.held, heldFrame{peer: r, typ: typ, term: term, body: slices.Clone(body)})
		p.heldBytes += heldSize(body)
		l.heldAll += heldSize(body)
		l.stats.Held++
		return nil
	}
	if typ != proto.FramePublish {
		return broke("hold", errHeld)
	}
	x, err := proto.ParsePublish(body)
	if err != nil {
		return broke("hold", err)
	}
	p.holds = append(p.holds, hold{peer: r, term: term, seq: x.Seq})
	l.stats.HeldDropped++
	l.note(r, p, noteHold)
	return nil
}

// heldSize is what a held frame counts: its body and some for bookkeeping.
func heldSize(body []byte) int { return len(body) + 64 }

func (p *part) holding(r *Peer) int {
	return slices.IndexFunc(p.holds, func(h hold) bool { return h.peer == r })
}

func (p *part) tellHold(r *Peer, b []byte) []byte {
	i := p.holding(r)
	if i < 0 {
		return b // it may go already
	}
	h := p.holds[i]
	return proto.AppendSignal(b, proto.FrameHold, proto.Signal{Partition: p.number, Term: h.term, Seq: h.seq})
}

// release takes the held frames that are of the present term now, in order,
// and lets those go who were told to hold.
func (l *Lane) release(p *part) {
	if len(p.held) > 0 {
		held := p.held
		p.held = nil
		l.heldAll -= p.heldBytes
		p.heldBytes = 0
		for _, h := range held {
			if h.peer.down || h.peer.broken != nil {
				continue
			}
			if err := l.frame(h.peer, h.typ, h.body); err != nil {
				h.peer.broken = err
			}
		}
	}
	p.holds = slices.DeleteFunc(p.holds, func(h hold) bool {
		if h.term > p.term {
			return false
		}
		l.note(h.peer, p, noteGo)
		if p.owned { // it may not have heard of the hold, and then sent on
			pub := l.publisher(p, h.peer)
			pub.expected, pub.gap = max(h.seq, pub.last+1), max(h.seq, pub.last+1)
			l.note(h.peer, p, noteExpect)
		}
		return true
	})
}

// dropHeld forgets what is held of a peer that is down.
func (l *Lane) dropHeld(p *part, r *Peer) {
	p.holds = slices.DeleteFunc(p.holds, func(h hold) bool { return h.peer == r })
	if len(p.held) == 0 {
		return
	}
	p.held = slices.DeleteFunc(p.held, func(h heldFrame) bool {
		if h.peer == r {
			p.heldBytes -= heldSize(h.body)
			l.heldAll -= heldSize(h.body)
		}
		return h.peer == r
	})
}

// fenced takes the word of a router that knows a newer term than an owner spoke
// in: the owner slept, or was cut off, and may be none any more. Only the Table
// says so for certain, and only that is acted on: one router that errs must not
// stop a partition. Who owns nothing has nothing to stop.
func (l *Lane) fenced(p *part, body []byte) error {
	x, err := proto.ParseSignal(proto.FrameFenced, body)
	if err == nil && p.owned && x.Term > p.term {
		l.stats.Outdated++
		l.hearOf(p, x.Term)
	}
	return err
}

// hearOf remembers a term that SetTable has not told yet.
func (l *Lane) hearOf(p *part, term proto.Term) {
	p.told = max(p.told, term)
	if !p.behind {
		p.behind = true
		l.behind = append(l.behind, p)
	}
}

// NeedTable names a partition of which routers speak in a higher term than
// SetTable has told, and that term: the Table is to be fetched. It does so until
// SetTable tells that term, or a higher one; need is false when there is no such
// partition.
func (l *Lane) NeedTable() (number proto.Partition, term proto.Term, need bool) {
	for n := len(l.behind); n > 0; n = len(l.behind) {
		p := l.behind[n-1]
		if p.told > p.term {
			return p.number, p.told, true
		}
		p.behind = false
		l.behind = l.behind[:n-1]
	}
	return 0, 0, false
}
