package hub

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// What is here is about frames that are not the owner's in the row's term.
//
// A lower term is one of the past: the frame is passed over, and its sender is
// told the term that we know. A higher term is one that the Table tells soon.
// Then everything starts again (see partition), so a frame of that term is never
// needed; but what the owner says in it saves what would be asked for and sent
// again, if it is taken before. So that is held until a row tells that term, and
// taken if the row's owner is the one it came from. By type:
//
//   - Deliver is held. It names the place of its messages: what is not the next
//     one is passed over, so it can neither double nor reorder anything.
//   - Attached is held: without it the Delivers behind it would begin elsewhere
//     than we think, and after an epoch's end they could not be taken at all.
//   - Ack is held: what its owner settled is settled for good.
//   - Fetched is dropped. A fetch ends with its term, at both ends, and answers
//     name no question: it could only be taken for the answer to a later one.
//   - Expect, Hold and Go are dropped. They say what to send when, and with the
//     new row all is sent again: an owner that still lacks something or has no
//     room for it says so again. An old Hold whose Go was lost would only keep
//     publishes back.
//   - Moved and Fenced are taken at once: nothing is sent to who does not take it.
//
// All of that is so for the row's owner alone. It is the only one that we asked
// for rooms, and the only one that publishes were sent to: any other node's
// frames answer nothing of ours, whatever the next row says. When the row names
// another owner, or the link is down, what is held is dropped for the same
// reason.

// heldFrame is a frame of the owner in a term that no row has told yet.
type heldFrame struct {
	typ  proto.FrameType
	term proto.Term
	body []byte
}

func (f *heldFrame) size() int { return len(f.body) + heldCost }

const (
	// maxHeld bounds the held frames of a partition, which are those of one
	// node, and maxHeldAll those of all partitions, in bytes. What does not fit
	// is dropped, and all that follows in its partition, so that what is held has
	// no holes.
	maxHeld    = 1 << 20
	maxHeldAll = 32 << 20
	// heldCost is what a held frame counts beside its body, in bytes.
	heldCost = 64
	// maxFenced bounds the nodes that are told in one term of a partition that
	// theirs is old. Further ones hear it from the Table.
	maxFenced = 16
)

// apart takes a frame that is not the owner's in the row's term, and any frame
// of an owner that is to lose its link.
func (h *Hub) apart(p *partition, from proto.NodeName, typ proto.FrameType, term proto.Term, body []byte) error {
	owner := p.owner() == from
	if err := p.broken; err != nil && owner {
		p.broken = nil
		return err
	}
	switch {
	case term > p.term:
		return h.early(p, owner, typ, term, body)
	case term == p.term && owner:
		return h.dispatch(p, typ, body)
	case term < p.term && typ != proto.FrameMoved && typ != proto.FrameFenced:
		h.fence(p, from) // those two say that their sender knows of its being none
	}
	h.stats.Ignored++
	return nil
}

// early takes a frame of a higher term than the row's.
func (h *Hub) early(p *partition, owner bool, typ proto.FrameType, term proto.Term, body []byte) error {
	h.hearOf(p, term)
	switch typ {
	case proto.FrameDeliver, proto.FrameAttached, proto.FrameAck:
		if owner && h.cfg.Break == BreakHold {
			return h.dispatch(p, typ, body)
		}
		if owner {
			h.keep(p, heldFrame{typ, term, body})
			return nil
		}
	case proto.FrameMoved, proto.FrameFenced:
		// What we sent was not taken. Everything starts again with the next row,
		// or after a while.
		if owner {
			h.block(p, fencedAfter)
			return nil
		}
	case proto.FrameFetched, proto.FrameExpect, proto.FrameHold, proto.FrameGo:
	default:
		return errType
	}
	h.stats.Ignored++
	return nil
}

// keep holds a frame until a row tells its term.
func (h *Hub) keep(p *partition, f heldFrame) {
	p.lossy = p.lossy || p.heldBytes+f.size() > maxHeld || h.held+f.size() > maxHeldAll
	if p.lossy {
		h.stats.HeldDropped++
		return
	}
	f.body = slices.Clone(f.body)
	h.putHeld(p, f)
	h.stats.Held++
}

func (h *Hub) putHeld(p *partition, f heldFrame) {
	p.held = append(p.held, f)
	p.heldBytes += f.size()
	h.held += f.size()
}

// catchUp takes the held frames that are of the row's term now, in order, and
// forgets older ones. It comes before everything starts again: then that begins
// behind what they brought. A frame that breaks the protocol ends the link with
// the next one.
func (h *Hub) catchUp(p *partition) {
	if len(p.held) == 0 && !p.lossy {
		return
	}
	held, lossy := p.held, p.lossy
	h.forgetHeld(p)
	for i := range held {
		switch f := &held[i]; {
		case f.term > p.term:
			h.putHeld(p, *f)
		case f.term < p.term || p.broken != nil:
			h.stats.HeldDropped++
		default:
			p.broken = h.dispatch(p, f.typ, f.body)
		}
	}
	p.lossy = lossy && len(p.held) > 0
}

// dropHeld drops what is held of a partition's owner.
func (h *Hub) dropHeld(p *partition) {
	h.stats.HeldDropped += uint64(len(p.held))
	h.forgetHeld(p)
	p.broken = nil
}

func (h *Hub) forgetHeld(p *partition) {
	h.held -= p.heldBytes
	p.held, p.heldBytes, p.lossy = nil, 0, false
}

// hearOf remembers a term that no row has told yet.
func (h *Hub) hearOf(p *partition, term proto.Term) {
	p.told = max(p.told, term)
	if !p.behind {
		p.behind = true
		h.behind = append(h.behind, p)
	}
}

// NeedTable names a partition of which frames speak in a higher term than its
// row's, and that term: the Table is to be fetched. It does so until SetRow tells
// that term, or a higher one; need is false when there is no such partition.
func (h *Hub) NeedTable() (id proto.Partition, term proto.Term, need bool) {
	for n := len(h.behind); n > 0; n = len(h.behind) {
		p := h.behind[n-1]
		if p.told > p.term {
			return p.id, p.told, true
		}
		p.behind = false
		h.behind = h.behind[:n-1]
	}
	return 0, 0, false
}

// fence has a node be told, once in a term of ours, that its term is old: an
// owner that slept, or was cut off, hears so that it is none before the Table
// reaches it. It is a hint; nothing depends on its arrival.
func (h *Hub) fence(p *partition, from proto.NodeName) {
	n := h.peers[from]
	if n == nil || len(n.links) == 0 || len(p.fenced) >= maxFenced || slices.Contains(p.fenced, from) {
		return
	}
	o := &n.links[int(p.id)%len(n.links)]
	if !o.up {
		return
	}
	p.fenced = append(p.fenced, from)
	o.fences = append(o.fences, proto.Signal{Partition: p.id, Term: p.term})
	h.activate(o)
	h.stats.Fenced++
}

// fillFences writes the Fenced frames that are due.
func (o *outbox) fillFences(b []byte, end int) []byte {
	n := 0
	for ; n < len(o.fences) && len(b) < end; n++ {
		b = proto.AppendSignal(b, proto.FrameFenced, o.fences[n])
	}
	if o.fences = o.fences[n:]; len(o.fences) == 0 {
		o.fences = nil
	}
	return b
}
