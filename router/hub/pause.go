package hub

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// pause is a time in which the rooms of a partition are not served: from when that
// shows here (the link to the owner is lost, it says that it keeps publishes back or
// is none any more, the Table names another) to when another owner has answered for
// the first of them, those with waiting publishes first. If the oldest publish that
// waits is older, it began with that one. One that the same owner ends is none.
type pause struct {
	owner proto.NodeName // who served them; "": there is no pause
	since int64
	lost  bool // the link to it was lost
	told  bool // it said itself that it serves them no more
}

// silentAfter is how long a pause of which the owner said nothing is taken for a
// move: one that gives its partitions away says so to who publishes. The Table may
// tell of the fail-over before the link is known to be dead.
const silentAfter = time.Second

// cause is how a pause shows.
type cause uint8

const (
	causeRow  cause = iota // the Table names another owner
	causeLink              // the link to the owner is lost
	causeWord              // the owner says so
)

// interrupt begins a pause of a partition, or tells more about it.
func (h *Hub) interrupt(p *partition, why cause) {
	k := &p.pause
	if k.owner == "" {
		if p.peer == nil || len(p.rooms) == 0 {
			return
		}
		*k = pause{owner: p.peer.name, since: h.now}
		if q := &p.pub; q.head+q.voided < len(q.pending) {
			k.since = min(k.since, q.pending[q.head+q.voided].at)
		}
	}
	if p.owner() == k.owner {
		k.lost = k.lost || why == causeLink
		k.told = k.told || why == causeWord
	}
}

// goesOn ends a pause that was none: the owner takes publishes again.
func (p *partition) goesOn() {
	if !p.pause.lost && !p.blocked && p.owner() == p.pause.owner {
		p.pause = pause{}
	}
}

// served ends a pause: the owner has answered.
func (h *Hub) served(p *partition) {
	k := p.pause
	if k.owner == "" {
		return
	}
	p.pause = pause{}
	took := time.Duration(h.now - k.since)
	switch {
	case p.owner() == k.owner:
	case k.lost || !h.reaches(k.owner, p) || !k.told && took >= silentAfter:
		h.stats.FailoverPause.Count(took)
	default:
		h.stats.MovePause.Count(took)
	}
}

// reaches reports whether there is a link to a node for what is about a partition.
func (h *Hub) reaches(node proto.NodeName, p *partition) bool {
	n := h.peers[node]
	return n != nil && len(n.links) > 0 && n.links[int(p.id)%len(n.links)].up
}
