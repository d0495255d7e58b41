package partition

import (
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// findPublisher is where the publisher of a number is among pubs, or would be.
func (p *part) findPublisher(number uint32) (int, bool) {
	return slices.BinarySearchFunc(p.pubs, number, func(pub *publisher, n uint32) int {
		switch {
		case pub.number < n:
			return -1
		case pub.number > n:
			return 1
		}
		return 0
	})
}

func (p *part) publisher(number uint32) *publisher {
	if i, ok := p.findPublisher(number); ok {
		return p.pubs[i]
	}
	return nil
}

// named is the publisher that a router has; nil if it has none.
func (p *part) named(name proto.NodeName) *publisher {
	i := slices.IndexFunc(p.pubs, func(pub *publisher) bool { return pub.name == name && !pub.dying })
	if i < 0 {
		return nil
	}
	return p.pubs[i]
}

// meetPublisher is what is known of a peer's router; its acks go to this peer
// now.
func (l *Lane) meetPublisher(p *part, r *Peer) *publisher {
	pub := r.router.pubs[p.local]
	if pub == nil {
		if pub = p.named(r.router.name); pub == nil {
			l.makeSpace(p)
			l.out = proto.Entry{Kind: proto.EntryMet, Publisher: p.numbers + 1, Name: []byte(r.router.name)}
			l.append(p)
			pub = p.pubs[len(p.pubs)-1]
		}
		r.router.pubs[p.local] = pub
	}
	pub.peer = r
	return pub
}

// recall has the router of a peer known by the number that it has already, so
// that its own messages carry their conns before it publishes in this term.
func (l *Lane) recall(p *part, r *Peer) {
	if r.router.pubs[p.local] == nil {
		r.router.pubs[p.local] = p.named(r.router.name)
	}
}

// routerName is the name of a router, in the memory that it has already if it is
// linked: each of thousands of partitions keeps it.
func (l *Lane) routerName(name []byte) proto.NodeName {
	if rt := l.routers[proto.NodeName(name)]; rt != nil {
		return rt.name
	}
	return proto.NodeName(name)
}

// given is the highest number that an applied entry gave out.
func (p *part) given() uint32 {
	for _, pub := range p.pubs {
		if pub.pending {
			return pub.number - 1
		}
	}
	return p.numbers
}

// makeSpace keeps the number of publishers bounded: the one that came first and
// has no link is forgotten early.
func (l *Lane) makeSpace(p *part) {
	if len(p.pubs) < maxRouters {
		return
	}
	for _, pub := range p.pubs {
		if !pub.dying && !l.isUp(pub) {
			l.drops(p, pub)
			return
		}
	}
}

func (l *Lane) drops(p *part, pub *publisher) {
	l.out = proto.Entry{Kind: proto.EntryDropped, Publisher: pub.number}
	l.append(p)
}

// isUp reports whether the router of a publisher has a link.
func (l *Lane) isUp(pub *publisher) bool {
	rt := l.routers[pub.name]
	return rt != nil && len(rt.peers) > 0
}

// forgetNumber has the router of a publisher know that the number is void.
func (l *Lane) forgetNumber(p *part, pub *publisher) {
	pub.peer = nil
	if rt := l.routers[pub.name]; rt != nil && rt.pubs[p.local] == pub {
		rt.pubs[p.local] = nil
	}
}

// scanPublishers looks at some partitions for publishers whose routers left,
// came back or are to be forgotten.
func (l *Lane) scanPublishers() {
	for range min(tickScan, len(l.parts)) {
		l.scanned = (l.scanned + 1) % len(l.parts)
		p := &l.parts[l.scanned]
		if !p.owned || p.stalled() {
			continue
		}
		for i := 0; i < len(p.pubs); i++ {
			pub := p.pubs[i]
			l.agePublisher(p, pub)
			if i < len(p.pubs) && p.pubs[i] != pub {
				i-- // it is gone already
			}
		}
	}
}

// agePublisher begins the 10 minutes of a router that left, and ends them. A
// router of which this shard never heard has the time to link in a new term.
func (l *Lane) agePublisher(p *part, pub *publisher) {
	if pub.pending || pub.dying || pub.turning {
		return
	}
	rt := l.routers[pub.name]
	up := rt != nil && len(rt.peers) > 0
	switch {
	case up && pub.left != 0:
		l.out = proto.Entry{Kind: proto.EntryMet, Publisher: pub.number, Name: []byte(pub.name)}
		l.append(p)
	case !up && pub.left == 0 && (rt != nil && rt.gone || rt == nil && l.now >= p.lead.settled):
		l.out = proto.Entry{Kind: proto.EntryLeft, Publisher: pub.number}
		l.append(p)
	case !up && pub.left != 0 && l.logTime(p)-time.Duration(pub.left-1) >= publisherAge:
		l.drops(p, pub)
	}
}
