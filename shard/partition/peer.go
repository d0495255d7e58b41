package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// router is one run of a router, as long as it may come back.
type router struct {
	name   proto.NodeName
	peers  []*Peer
	pubs   []*publisher // by part.local: of owned partitions to which it published
	gone   bool
	goneAt time.Duration
}

// shard is one run of another shard, as long as there is a link to it.
type shard struct {
	name  proto.NodeName
	peers []*Peer
}

// Peer is one link of a router or of another shard: what RouterUp and ShardUp
// return, and what the frames of that link are handed in with.
type Peer struct {
	// Tag is the caller's; the lane leaves it alone.
	Tag any

	router      *router // nil for a shard
	shard       *shard  // nil for a router
	link, links int
	down        bool
	listed      bool  // in Lane.dirty
	broken      error // a held frame of it broke the protocol: its next frame ends it

	// Of a router.
	cursors     *cursor // all of them
	first, last *cursor // those with something to send, in the order they are served
	fetches     int     // how many of cursors are fetches
	members     int     // of all cursors
	answers     []answer
	early       map[string]uint32 // member counts that overtook their Attach

	// Of a shard.
	sends, sendsEnd *replica   // those with something to send, in the order they are served
	pupil           *replica   // the learner that is taught now
	pupils          []*replica // the learners that can be taught now, in the order they came
	teaches         bool       // in Lane.teachers

	notes []uint16 // parts with control frames due, by part.local
	noted []note   // which, by part.local
}

// note is a set of control frames that a peer is to be sent about a partition.
// What they say is read from the state when they are sent, so that a note per
// kind is enough, however many frames caused it.
type note uint16

const (
	noteAck note = 1 << iota
	noteExpect
	noteMoved
	noteFenced
	noteHold
	noteGo
	noteStored // how far a copy goes
	noteGap    // and that something is missing
)

// Name is the node behind the link.
func (r *Peer) Name() proto.NodeName {
	if r.shard != nil {
		return r.shard.name
	}
	return r.router.name
}

// Link is the number of the link among those of the node.
func (r *Peer) Link() int { return r.link }

// carries reports whether frames about a partition go over this link.
func (r *Peer) carries(p *part) bool { return r.links <= 1 || int(p.number)%r.links == r.link }

// RouterUp begins a link of a router, the given number of links in all. If
// that link was up, it is down first.
func (l *Lane) RouterUp(name proto.NodeName, link, links int) *Peer {
	r := l.routers[name]
	if r == nil {
		r = l.meet(name)
	}
	r.gone = false
	if i := linked(r.peers, link); i >= 0 {
		l.Down(r.peers[i])
	}
	peer := &Peer{router: r, link: link, links: links, noted: make([]note, len(l.parts))}
	r.peers = append(r.peers, peer)
	return peer
}

// ShardUp begins a link to another shard, the given number of links in all:
// copies of partitions go over it both ways. If that link was up, it is down
// first.
func (l *Lane) ShardUp(name proto.NodeName, link, links int) *Peer {
	s := l.shards[name]
	if s == nil {
		s = &shard{name: name}
		l.shards[name] = s
	}
	if i := linked(s.peers, link); i >= 0 {
		l.Down(s.peers[i])
		l.shards[name] = s // it may have been the last
	}
	peer := &Peer{shard: s, link: link, links: links, noted: make([]note, len(l.parts))}
	s.peers = append(s.peers, peer)
	for i := range l.parts {
		if p := &l.parts[i]; p.owned && peer.carries(p) {
			if x := p.replica(name); x != nil {
				l.linkReplica(x, peer)
			}
		}
	}
	return peer
}

func linked(peers []*Peer, link int) int {
	return slices.IndexFunc(peers, func(x *Peer) bool { return x.link == link })
}

func (l *Lane) meet(name proto.NodeName) *router {
	if len(l.all) >= maxRouters {
		if i := slices.IndexFunc(l.all, func(r *router) bool { return len(r.peers) == 0 }); i >= 0 {
			l.unmeet(i)
		}
	}
	r := &router{name: name, pubs: make([]*publisher, len(l.parts))}
	l.routers[name] = r
	l.all = append(l.all, r)
	return r
}

func (l *Lane) unmeet(i int) {
	delete(l.routers, l.all[i].name)
	l.all = slices.Delete(l.all, i, i+1)
}

// Down ends a link. A router's cursors on it are forgotten, Tick by Tick,
// because there may be a million; its publishes are not. What a follower has
// stored is remembered; a learner that is not whole begins again.
func (l *Lane) Down(r *Peer) {
	if r.down {
		return
	}
	r.down = true
	l.audience -= r.members
	r.members = 0
	l.dirty = slices.DeleteFunc(l.dirty, func(x *Peer) bool { return x == r })
	r.first, r.last, r.answers, r.notes, r.noted, r.early = nil, nil, nil, nil, nil, nil
	if r.shard != nil {
		l.shardDown(r)
	} else {
		l.routerDown(r)
	}
	for i := range l.parts {
		l.dropHeld(&l.parts[i], r)
	}
}

func (l *Lane) routerDown(r *Peer) {
	r.router.peers = slices.DeleteFunc(r.router.peers, func(x *Peer) bool { return x == r })
	l.reaping = append(l.reaping, r)
	for _, pub := range r.router.pubs {
		if pub != nil && pub.peer == r {
			pub.peer, pub.gap, pub.results = nil, 0, nil // it sends again, on its next link
		}
	}
}

func (l *Lane) shardDown(r *Peer) {
	s := r.shard
	s.peers = slices.DeleteFunc(s.peers, func(x *Peer) bool { return x == r })
	if len(s.peers) == 0 {
		delete(l.shards, s.name)
	}
	r.sends, r.sendsEnd, r.pupil, r.pupils = nil, nil, nil, nil
	for i := range l.parts {
		p := &l.parts[i]
		for _, x := range p.lead.replicas {
			if x.peer == r {
				l.unlinkReplica(x)
			}
		}
		if p.follow.source == r {
			p.follow.source = nil
			if p.copy == learning {
				l.drop(p) // the next link begins it again
			}
		}
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
		r.listed = r.first != nil || len(r.answers) > 0 || len(r.notes) > 0 || r.sends != nil || len(r.pupils) > 0 && l.mayTeach()
		if !r.listed && len(r.pupils) > 0 {
			l.rest(r)
		}
		return !r.listed
	})
	return append(peers, l.dirty...)
}

func (l *Lane) list(r *Peer) {
	if !r.listed && !r.down {
		r.listed = true
		l.dirty = append(l.dirty, r)
	}
}

func (l *Lane) note(r *Peer, p *part, n note) {
	if r == nil || r.down || r.noted[p.local]&n == n {
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
		if p := &l.parts[local]; r.shard != nil {
			b = p.tellShard(r, b, n)
		} else {
			b = l.tellRouter(r, b, p, n)
		}
	}
	r.notes = r.notes[:0]
	return b
}

func (l *Lane) tellRouter(r *Peer, b []byte, p *part, n note) []byte {
	s := proto.Signal{Partition: p.number, Term: p.row.Term}
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
	if n&noteGo != 0 && p.holding(r) < 0 {
		b = proto.AppendSignal(b, proto.FrameGo, s)
	}
	if pub := r.router.pubs[p.local]; n&noteExpect != 0 && pub != nil && pub.gap != 0 && p.holding(r) < 0 {
		s.Seq = pub.expected
		b = proto.AppendSignal(b, proto.FrameExpect, s)
	}
	return b
}

func (p *part) tellShard(r *Peer, b []byte, n note) []byte {
	if n&noteFenced != 0 {
		b = proto.AppendSignal(b, proto.FrameFenced, proto.Signal{Partition: p.number, Term: p.fence()})
	}
	f := &p.follow
	gap := n&noteGap != 0 && f.gap // unless what was missing came
	if r != f.source || n&(noteStored|noteGap) == 0 || p.copy == nothing && !gap {
		return b // it is the owner no more, or there is no copy to tell of
	}
	return proto.AppendStored(b, &proto.Stored{
		Partition: p.number, Term: f.term, Index: f.stored, Teaching: f.teaching, Whole: p.copy == whole, Gap: gap,
	})
}
