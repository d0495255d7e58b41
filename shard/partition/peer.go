package partition

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// note is a set of control frames that a peer is to be sent about a partition.
// What they say is read from the state when they are sent, so that a note per
// kind is enough, however many frames caused it.
type note uint8

const (
	noteAck note = 1 << iota
	noteExpect
	noteMoved
	noteFenced
	noteHold
	noteGo
)

// RouterUp begins a link of a router, the given number of links in all. If
// that link was up, it is down first.
func (l *Lane) RouterUp(name proto.NodeName, link, links int) *Peer {
	r := l.routers[name]
	if r == nil {
		r = l.meet(name)
	}
	r.gone = false
	for _, old := range r.peers {
		if old.link == link {
			l.RouterDown(old)
			break
		}
	}
	peer := &Peer{router: r, link: link, links: links, noted: make([]note, len(l.parts))}
	r.peers = append(r.peers, peer)
	return peer
}

func (l *Lane) meet(name proto.NodeName) *router {
	if len(l.all) >= maxRouters {
		if i := slices.IndexFunc(l.all, func(r *router) bool { return len(r.peers) == 0 }); i >= 0 {
			l.unmeet(i)
		}
	}
	l.refs++
	r := &router{name: name, ref: l.refs, pubs: make([]*publisher, len(l.parts))}
	l.routers[name] = r
	l.all = append(l.all, r)
	return r
}

func (l *Lane) unmeet(i int) {
	delete(l.routers, l.all[i].name)
	l.all = slices.Delete(l.all, i, i+1)
}

// RouterDown ends a link. Its cursors are forgotten, Tick by Tick, because
// there may be a million; its router's publishes are not.
func (l *Lane) RouterDown(r *Peer) {
	if r.down {
		return
	}
	r.down = true
	r.router.peers = slices.DeleteFunc(r.router.peers, func(x *Peer) bool { return x == r })
	r.first, r.last, r.answers, r.notes, r.noted, r.early = nil, nil, nil, nil, nil, nil
	l.dirty = slices.DeleteFunc(l.dirty, func(x *Peer) bool { return x == r })
	l.reaping = append(l.reaping, r)
	for i := range l.parts {
		if pub := r.router.pubs[i]; pub != nil && pub.peer == r {
			pub.peer, pub.gap, pub.results = nil, 0, nil // it sends again, on its next link
		}
		l.dropHeld(&l.parts[i], r)
	}
}

// RouterGone says that a router left or is dead: its publishes are forgotten
// in 10 minutes, unless it is up again.
func (l *Lane) RouterGone(name proto.NodeName) {
	if r := l.routers[name]; r != nil && !r.gone {
		r.gone, r.goneAt = true, l.now
	}
}

// Dirty appends to peers those that Fill or Control has something for, in the
// order in which it came up. A peer stays dirty until both have nothing left.
func (l *Lane) Dirty(peers []*Peer) []*Peer {
	l.dirty = slices.DeleteFunc(l.dirty, func(r *Peer) bool {
		r.listed = r.first != nil || len(r.answers) > 0 || len(r.notes) > 0
		return !r.listed
	})
	return append(peers, l.dirty...)
}

func (l *Lane) list(r *Peer) {
	if !r.listed {
		r.listed = true
		l.dirty = append(l.dirty, r)
	}
}

func (l *Lane) note(r *Peer, p *part, n note) {
	if r == nil || r.down || r.noted[p.local]&n != 0 {
		return
	}
	if r.noted[p.local] == 0 {
		r.notes = append(r.notes, p.local)
		l.list(r)
	}
	r.noted[p.local] |= n
}

// Control appends the control frames for a peer to b: they need no credit.
func (l *Lane) Control(r *Peer, b []byte) []byte {
	for _, local := range r.notes {
		n := r.noted[local]
		r.noted[local] = 0
		b = l.signals(r, b, &l.parts[local], n)
	}
	r.notes = r.notes[:0]
	return b
}

func (l *Lane) signals(r *Peer, b []byte, p *part, n note) []byte {
	s := proto.Signal{Partition: p.number, Term: p.term}
	if n&noteAck != 0 {
		b = l.ack(r, b, p)
	}
	if n&(noteFenced|noteMoved) != 0 { // what is true by now
		typ := proto.FrameMoved
		if p.owned {
			typ = proto.FrameFenced
		}
		b = proto.AppendSignal(b, typ, s)
	}
	if n&noteHold != 0 {
		b = p.tellHold(r, b)
	}
	if n&noteGo != 0 {
		b = proto.AppendSignal(b, proto.FrameGo, s)
	}
	if pub := r.router.pubs[p.local]; n&noteExpect != 0 && pub != nil && pub.gap != 0 {
		s.Seq = pub.expected
		b = proto.AppendSignal(b, proto.FrameExpect, s)
	}
	return b
}
