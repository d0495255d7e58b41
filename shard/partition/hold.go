package partition

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// heldFrame is a frame of a term that the Table has not told yet.
type heldFrame struct {
	peer *Peer
	typ  proto.FrameType
	term proto.Term
	body []byte
}

// hold is a router's link that was told to keep its publishes, from seq on.
type hold struct {
	peer *Peer
	term proto.Term
	seq  proto.Seq
}

// stalled reports whether an owner sequences nothing now: too much is not
// committed, another is to be the owner, or it promised not to (rule R11).
func (p *part) stalled() bool {
	return p.lead.full || p.lead.frozen || p.promised > p.row.Term
}

// holdBack tells a router to keep its publishes from seq on. Until it is let go,
// none of them is taken, so their order is kept.
func (l *Lane) holdBack(p *part, r *Peer, seq proto.Seq) {
	i := p.holding(r)
	switch {
	case i < 0:
		p.holds = append(p.holds, hold{peer: r, term: p.row.Term, seq: seq})
	case p.holds[i].term == p.row.Term && p.holds[i].seq <= seq:
		return // it was on its way
	default:
		p.holds[i].term, p.holds[i].seq = p.row.Term, seq
	}
	l.stats.HeldBack++
	l.note(r, p, noteHold)
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
		return errHeld
	}
	x, err := proto.ParsePublish(body)
	if err != nil {
		return err
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
	l.letGo(p)
}

// letGo tells the routers that hold publishes of a term that is known now to
// send them, unless they would have to hold them at once.
func (l *Lane) letGo(p *part) {
	if p.owned && p.stalled() {
		return
	}
	holds := p.holds
	p.holds = nil
	for _, h := range holds {
		if h.term > p.row.Term {
			p.holds = append(p.holds, h)
			continue
		}
		l.note(h.peer, p, noteGo)
		if p.owned { // it may not have heard of the hold, and then sent on
			pub := l.meetPublisher(p, h.peer)
			pub.expected, pub.gap = max(h.seq, pub.last+1), max(h.seq, pub.last+1)
			l.note(h.peer, p, noteExpect)
		}
	}
	if p.owned {
		l.makeSureNow(p)
	}
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
