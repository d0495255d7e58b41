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

// Frame applies a frame of a peer: Publish, Attach, Detach, Fetch and Members of
// a router, Append, Snapshot and Stored of a shard, Fenced of both. What it leads
// to is to be had from Control and Fill. Nothing of body is kept. An error is a
// *proto.Error: the peer broke the protocol, its link is to be closed.
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
	if !r.speaks(typ) {
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
	if !r.carries(p) {
		return broke(typ.String(), fmt.Errorf("partition %d: %w", number, errLink))
	}
	switch {
	case typ == proto.FrameFenced:
		err = l.fenced(p, r, body)
	case r.shard != nil:
		err = l.ofShard(p, r, typ, term, body)
	default:
		err = l.ofRouter(p, r, typ, term, body)
	}
	if err != nil {
		return broke(typ.String(), err)
	}
	return nil
}

// speaks reports whether a frame type is one that the peer may send.
func (r *Peer) speaks(typ proto.FrameType) bool {
	switch typ {
	case proto.FramePublish, proto.FrameAttach, proto.FrameDetach, proto.FrameFetch, proto.FrameMembers:
		return r.router != nil
	case proto.FrameAppend, proto.FrameSnapshot, proto.FrameStored:
		return r.shard != nil
	}
	return typ == proto.FrameFenced
}

// ofRouter takes a frame of a router, if it is about an owned partition and in
// its term.
func (l *Lane) ofRouter(p *part, r *Peer, typ proto.FrameType, term proto.Term, body []byte) error {
	switch {
	case p.owned && term == p.row.Term:
	case term > p.row.Term:
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
	switch typ {
	case proto.FramePublish:
		return l.publish(p, r, body)
	case proto.FrameAttach:
		return l.attach(p, r, body)
	case proto.FrameDetach:
		return l.detach(p, r, body)
	case proto.FrameFetch:
		return l.fetch(p, r, body)
	default:
		return l.members(p, r, body)
	}
}

// ofShard takes a frame of another shard, if it is in the partition's term.
func (l *Lane) ofShard(p *part, r *Peer, typ proto.FrameType, term proto.Term, body []byte) error {
	if typ == proto.FrameStored { // never waits: what it answers was sent in our term
		if !p.owned || term != p.row.Term || p.promised > term {
			return nil
		}
		return l.stored(p, r, body)
	}
	switch {
	case term < p.fence() && l.cfg.Break&BreakFence == 0:
		l.stats.Fenced++
		l.note(r, p, noteFenced)
		return nil
	case term > p.row.Term:
		l.hearOf(p, term)
		return l.hold(p, r, typ, term, body)
	case typ == proto.FrameAppend:
		return l.follows(p, r, body)
	default:
		return l.learns(p, r, body)
	}
}

// fence is the term below which nothing is taken of other shards (rule R2).
func (p *part) fence() proto.Term { return max(p.row.Term, p.promised) }

// find looks a room up. A room of another partition breaks the protocol: its
// messages would have two orders.
func (l *Lane) find(p *part, name []byte) (*roomState, error) {
	rm := l.lookup(p, name)
	if rm != nil && rm.part != p {
		return nil, errRoom
	}
	return rm, nil
}

// lookup finds a room that should be of a partition; often it is the same as
// before, since a partition has few rooms in which something happens.
func (l *Lane) lookup(p *part, name []byte) *roomState {
	if rm := p.recent; rm != nil && rm.name == string(name) {
		return rm
	}
	rm := l.rooms[string(name)]
	if rm != nil && rm.part == p {
		p.recent = rm
	}
	return rm
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
	if l.owning >= l.maxRooms || p.log.size(p.applied) > maxUnstored {
		return nil, proto.Full, nil
	}
	l.out = proto.Entry{Kind: proto.EntryCreated, Room: name, Epoch: proto.MintEpoch(l.cfg.Bits())}
	l.append(p)
	return l.lookup(p, name), proto.OK, nil
}

// create makes a room; entries about it up to born are in it.
func (l *Lane) create(p *part, name []byte, e proto.Epoch, born proto.Index) *roomState {
	rm := &roomState{name: string(name), part: p, born: born, prev: p.last}
	rm.log.Init(e)
	if p.last != nil {
		p.last.next = rm
	} else {
		p.first = rm
	}
	p.last = rm
	p.rooms++
	if p.owned {
		l.owning++
	}
	l.rooms[rm.name] = rm
	return rm
}

// hide has nobody find a room any more.
func (l *Lane) hide(rm *roomState) {
	if l.rooms[rm.name] == rm {
		delete(l.rooms, rm.name)
	}
	if rm.part.recent == rm {
		rm.part.recent = nil
	}
}

// erase drops a room that has no cursors, and its epoch with it.
func (l *Lane) erase(rm *roomState) {
	rm.gone = true
	for _, w := range l.walks {
		w.skip(rm)
	}
	l.store.Release(&rm.log)
	l.wheel.remove(rm)
	l.hide(rm)
	p := rm.part
	for _, x := range p.lead.replicas {
		x.skip(rm)
	}
	if p.follow.feeding == rm {
		p.follow.feeding = nil
	}
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
	p.rooms--
	if p.owned {
		l.owning--
		l.stats.Forgotten++
	}
}
