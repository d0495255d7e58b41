package hub

import (
	"errors"
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
)

// offsetMax bounds offsets that are believed: no log ever reaches it, and
// counting on from it cannot overflow.
const offsetMax = proto.Offset(1) << 62

var (
	errOffset = errors.New("offset out of range")
	errType   = fmt.Errorf("not for a router: %w", proto.ErrValue)
)

const (
	movedAfter  = 100 * time.Millisecond // before an owner that says it is none is asked again
	fencedAfter = 500 * time.Millisecond // the same while we wait for a newer Table
)

// Frame takes a frame from a node: Attached, Deliver, Fetched, Ack, Expect,
// Hold, Go, Moved, Fenced; any other type, and a frame that breaks the
// protocol, is an error, upon which the link is to be closed. The body is not
// kept.
//
// Only what the owner says in the row's term is believed. For all other frames
// see term.go.
func (h *Hub) Frame(from proto.NodeName, typ proto.FrameType, body []byte, now time.Time) error {
	h.clock(now)
	id, term, err := proto.ParseHead(body)
	if err != nil {
		return fmt.Errorf("%v frame: %w", typ, err)
	}
	if int(id) >= h.cfg.Partitions || int(id)%h.cfg.Lanes != h.cfg.Lane {
		return fmt.Errorf("%v frame for partition %d on lane %d of %d: %w", typ, id, h.cfg.Lane, h.cfg.Lanes, proto.ErrValue)
	}
	p := h.partition(id)
	if p.peer == nil || p.peer.name != from || term != p.term || p.broken != nil {
		return h.apart(p, from, typ, term, body)
	}
	return h.dispatch(p, typ, body)
}

// dispatch takes a frame of the owner in the row's term.
func (h *Hub) dispatch(p *partition, typ proto.FrameType, body []byte) error {
	if err := h.heard(p, typ, body); err != nil {
		return fmt.Errorf("%v frame for partition %d: %w", typ, p.id, err)
	}
	return nil
}

func (h *Hub) heard(p *partition, typ proto.FrameType, body []byte) error {
	switch typ {
	case proto.FrameDeliver:
		return h.onDeliver(p, body)
	case proto.FrameAck:
		return h.onAck(p, body)
	case proto.FrameAttached:
		return h.onAttached(p, body)
	case proto.FrameFetched:
		return h.onFetched(p, body)
	case proto.FrameExpect, proto.FrameHold, proto.FrameGo, proto.FrameMoved, proto.FrameFenced:
		return h.onSignal(p, typ, body)
	}
	return errType
}

func (h *Hub) onDeliver(p *partition, body []byte) error {
	x, err := proto.ParseDeliver(body)
	if err != nil {
		return err
	}
	r := h.room(p, x.Room)
	if r == nil {
		h.unwanted(p, x.Room)
		return nil
	}
	if r.part != p || x.Offset > offsetMax {
		return errOffset
	}
	return h.deliver(r, &x)
}

// room finds a room that should be of a partition; often it is the same as before.
func (h *Hub) room(p *partition, name []byte) *room {
	if r := p.recent; r != nil && r.name == string(name) {
		return r
	}
	r := h.rooms[string(name)]
	if r != nil && r.part == p {
		p.recent = r
	}
	return r
}

// unwanted ends an attachment that the owner has and we have not: it was made
// before a restart that fell together with the last member's leaving.
func (h *Hub) unwanted(p *partition, room []byte) {
	if len(p.detach) == 0 {
		p.detach = append(p.detach, string(room))
		h.offer(p)
	}
}

func (h *Hub) onAttached(p *partition, body []byte) error {
	x, err := proto.ParseBatch(body)
	if err != nil {
		return err
	}
	for {
		e, ok := x.NextAttached()
		if !ok {
			return x.Err()
		}
		if e.Offset > offsetMax || e.First > offsetMax+1 {
			return errOffset
		}
		if r := h.rooms[string(e.Room)]; r != nil && r.part == p {
			h.attached(r, &e)
		}
	}
}

func (h *Hub) onFetched(p *partition, body []byte) error {
	x, err := proto.ParseFetched(body)
	if err != nil {
		return err
	}
	if x.After > offsetMax {
		return errOffset
	}
	if x.Last {
		p.asking = max(p.asking-1, 0)
		h.offer(p)
	}
	if r := h.rooms[string(x.Room)]; r != nil && r.part == p {
		return h.fetched(r, &x)
	}
	return nil
}

func (h *Hub) onAck(p *partition, body []byte) error {
	x, err := proto.ParseAck(body)
	if err != nil {
		return err
	}
	if x.Upto >= p.pub.next {
		return fmt.Errorf("ack of %d, next is %d: %w", x.Upto, p.pub.next, proto.ErrValue)
	}
	p.pub.refusals(h, &x)
	p.pub.ack(h, x.Upto)
	return nil
}

func (h *Hub) onSignal(p *partition, typ proto.FrameType, body []byte) error {
	x, err := proto.ParseSignal(typ, body)
	if err != nil {
		return err
	}
	switch typ {
	case proto.FrameExpect:
		p.pub.expect(h, x.Seq)
	case proto.FrameHold:
		h.stats.HeldBack++
		if p.pub.hold(h, x.Seq); p.pub.held {
			h.interrupt(p, causeWord)
		}
	case proto.FrameGo:
		p.pub.held = false
		p.goesOn()
	case proto.FrameMoved:
		// Two rows of one term: the owner of ours has the other one, and may
		// hear of ours yet.
		h.block(p, movedAfter)
	case proto.FrameFenced: // it names the term that we know by now
	}
	h.delay(p)
	h.offer(p)
	return nil
}
