package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
)

// What a peer can do to have its link closed, beyond frames that do not parse.
var (
	errLane    = errors.New("partition is not served by this lane")
	errLink    = errors.New("partition is on the wrong link")
	errRoom    = errors.New("room is not of this partition")
	errType    = errors.New("frame type is not for a shard")
	errHeld    = errors.New("too many frames of a term that the table does not know")
	errFetches = errors.New("too many unanswered fetches")
	errAnswers = errors.New("too many unread refusals")
)

func broke(op string, err error) error {
	return &proto.Error{Code: proto.Malformed, Op: op, Err: err}
}

// Frame applies a Publish, Attach, Detach, Fetch, Members or Fenced of a peer;
// what it leads to is to be had from Control and Fill. Nothing of body is kept.
// An error is a *proto.Error: the peer broke the protocol, its link is to be
// closed.
func (l *Lane) Frame(r *Peer, typ proto.FrameType, body []byte, now time.Time) error {
	if r.down {
		return nil
	}
	if r.broken != nil {
		return r.broken
	}
	l.advance(now)
	return l.frame(r, typ, body)
}

// frame checks who may speak about the partition, in which term.
func (l *Lane) frame(r *Peer, typ proto.FrameType, body []byte) error {
	switch typ {
	case proto.FramePublish, proto.FrameAttach, proto.FrameDetach, proto.FrameFetch, proto.FrameMembers, proto.FrameFenced:
	default:
		return broke(typ.String(), errType)
	}
	number, term, err := proto.ParseHead(body)
	if err != nil {
		return broke(typ.String(), err)
	}
	p := l.part(number)
	if p == nil {
		return broke(typ.String(), fmt.Errorf("partition %d: %w", number, errLane))
	}
	if r.links > 1 && int(number)%r.links != r.link {
		return broke(typ.String(), fmt.Errorf("partition %d: %w", number, errLink))
	}
	if p.owned && term == p.term {
		return l.apply(p, r, typ, body)
	}
	return l.apart(p, r, typ, term, body)
}

// apart takes a frame of another term, or about a partition that is not owned.
func (l *Lane) apart(p *part, r *Peer, typ proto.FrameType, term proto.Term, body []byte) error {
	switch {
	case typ == proto.FrameFenced: // is never answered
	case term > p.term:
		l.hearOf(p, term)
		return l.hold(p, r, typ, term, body)
	case !p.owned:
		l.stats.Moved++
		l.note(r, p, noteMoved)
		return nil
	case l.cfg.Break&BreakFence == 0:
		l.stats.Fenced++
		l.note(r, p, noteFenced)
		return nil
	}
	return l.apply(p, r, typ, body)
}

func (l *Lane) apply(p *part, r *Peer, typ proto.FrameType, body []byte) (err error) {
	switch typ {
	case proto.FramePublish:
		err = l.publish(p, r, body)
	case proto.FrameAttach:
		err = l.attach(p, r, body)
	case proto.FrameDetach:
		err = l.detach(p, r, body)
	case proto.FrameFetch:
		err = l.fetch(p, r, body)
	case proto.FrameMembers:
		err = l.members(p, r, body)
	case proto.FrameFenced:
		err = l.fenced(p, body)
	}
	if err != nil {
		return broke(typ.String(), err)
	}
	return nil
}

// find looks a room up. A room of another partition breaks the protocol: its
// messages would have two orders.
func (l *Lane) find(p *part, name []byte) (*roomState, error) {
	rm := l.rooms[string(name)]
	if rm != nil && rm.part != p {
		return nil, errRoom
	}
	return rm, nil
}

// findOrCreate also creates the room; the code says why it is refused.
func (l *Lane) findOrCreate(p *part, name []byte) (*roomState, proto.Code, error) {
	rm, err := l.find(p, name)
	if rm != nil || err != nil {
		return rm, proto.OK, err
	}
	if proto.PartitionOf(name, l.cfg.Partitions) != p.number {
		return nil, proto.OK, errRoom
	}
	if proto.CheckRoom(name) != nil {
		return nil, proto.BadRoom, nil
	}
	if len(l.rooms) >= l.maxRooms {
		return nil, proto.Full, nil
	}
	return l.create(p, string(name)), proto.OK, nil
}

func (l *Lane) create(p *part, name string) *roomState {
	rm := &roomState{name: name, part: p, touched: l.logTime(p), prev: p.last}
	rm.log.Init(proto.MintEpoch(l.cfg.Bits()))
	if p.last != nil {
		p.last.next = rm
	} else {
		p.first = rm
	}
	p.last = rm
	l.rooms[name] = rm
	l.stats.Created++
	return rm
}

// forget drops a room that has no cursors, and its epoch with it.
func (l *Lane) forget(rm *roomState) {
	l.store.Release(&rm.log)
	l.wheel.remove(rm)
	delete(l.rooms, rm.name)
	p := rm.part
	if rm.prev != nil {
		rm.prev.next = rm.next
	} else {
		p.first = rm.next
	}
	if rm.next != nil {
		rm.next.prev = rm.prev
	} else {
		p.last = rm.prev
	}
	l.stats.Forgotten++
}
