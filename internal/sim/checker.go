package sim

import (
	"fmt"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// unfounded says what a cluster lacks that begins, "" when it stands.
func (w *World) unfounded() string {
	leader := w.leader()
	if leader == nil {
		return "nobody leads"
	}
	for _, n := range w.living() {
		if n.table == nil || n.table.Instance != leader.table.Instance {
			return fmt.Sprintf("%s has no table", n.name)
		}
	}
	return w.unowned(leader.table)
}

// unsettled says what is waited for some time after the last fault and the last
// message, "" when everything has arrived and nobody waits for anything.
func (w *World) unsettled() string {
	if n := len(w.living()); n < len(w.hosts) {
		return fmt.Sprintf("%d of %d nodes run", n, len(w.hosts))
	}
	leader := w.leader()
	if leader == nil || leader.keeper.Table() == nil {
		return "nobody leads, or without a table"
	}
	t := leader.keeper.Table()
	for _, n := range w.living() {
		if why := w.astray(n, t, leader); why != "" {
			return why
		}
	}
	if why := w.unowned(t); why != "" {
		return why
	}
	if !cluster.Settled(leader.keeper.View(), leader.keeper.Ring(), t) {
		return fmt.Sprintf("the leader does not call it settled; moves: %v", t.Moves)
	}
	for _, p := range w.pairs {
		if why := p.unsettled(); why != "" {
			return why
		}
	}
	for _, r := range w.routers {
		if r.alive {
			if why := w.unpublished(r); why != "" {
				return why
			}
		}
	}
	for _, c := range w.clients {
		if why := w.unheard(c); why != "" {
			return why
		}
	}
	for _, s := range w.shards {
		if s.alive {
			if why := w.unkept(s); why != "" {
				return why
			}
		}
	}
	return w.unequal(t)
}

// leader is the one node that leads the newest register, nil while there is none.
func (w *World) leader() *node {
	var leader *node
	for _, n := range w.living() {
		if n.keeper.Coordinating() && (leader == nil || n.keeper.Founding().Generation > leader.keeper.Founding().Generation) {
			leader = n
		}
	}
	return leader
}

// astray says in what a node differs from the leader.
func (w *World) astray(n *node, t *cluster.Table, leader *node) string {
	own := n.keeper.Table()
	switch {
	case n.frozen || n.draining:
		return fmt.Sprintf("%s is frozen: %v, drains: %v", n.name, n.frozen, n.draining)
	case own == nil:
		return fmt.Sprintf("%s has no table", n.name)
	case own.Founding() != t.Founding() || own.Mark() != t.Mark():
		return fmt.Sprintf("%s holds version %x, %s %x", leader.name, t.Version, n.name, own.Version)
	case n.keeper.Leader(w.Time()) != leader.name:
		return fmt.Sprintf("%s follows %q, not %s", n.name, n.keeper.Leader(w.Time()), leader.name)
	}
	return ""
}

// unowned says which partition lacks a copy.
func (w *World) unowned(t *cluster.Table) string {
	shards := 0
	for _, n := range w.living() {
		if n.host.role == proto.RoleShard {
			shards++
		}
	}
	for i, row := range t.Rows() {
		if want := min(w.shape.followers, shards-1); len(row.Followers) != want {
			return fmt.Sprintf("partition %d: %+v, but %d followers are wanted", i, row, want)
		}
		for _, name := range append([]proto.NodeName{row.Owner}, row.Followers...) {
			if n := w.byName[name]; n == nil || !n.alive {
				return fmt.Sprintf("partition %d: %+v, but %q does not live", i, row, name)
			}
		}
	}
	return ""
}

func (p *pair) unsettled() string {
	if p.now == nil || p.now.dead || !p.now.ends[0].up || !p.now.ends[1].up {
		return fmt.Sprintf("%s and %s have no link", p.nodes[0].name, p.nodes[1].name)
	}
	for _, e := range p.now.ends {
		if n := len(e.out.waiting[data]); n > 0 {
			return fmt.Sprintf("link %s: %d frames of %s are still under way", p.now, n, e.node.name)
		}
	}
	return ""
}

// unpublished: every publish was acknowledged, and is where that says.
func (w *World) unpublished(r *router) string {
	for p := range r.seqs {
		if q := &r.seqs[p]; q.settled != proto.Seq(len(q.sent)) {
			return fmt.Sprintf("%s has sent up to seq %d in partition %d, and %d are acknowledged", r.name, len(q.sent), p, q.settled)
		}
	}
	for _, x := range r.sent {
		switch {
		case x.voided || x.tooBig || x.seq == 0 && w.shape.publishTimeout < patience:
		case x.seq == 0:
			return fmt.Sprintf("%s never sent %.40q", r.name, x.payload)
		case len(x.lives) == 0 && !w.ledger.hazy:
			return fmt.Sprintf("%s had %.40q acknowledged, which is in no log", r.name, x.payload)
		}
	}
	for _, l := range r.lanes {
		if s := l.hub.Stats(); s.Unacknowledged+s.Waiting+s.Lagging > 0 {
			return fmt.Sprintf("%s, lane %d: %d bytes unacknowledged, %d members waiting, %d lagging", r.name, l.number, s.Unacknowledged, s.Waiting, s.Lagging)
		}
	}
	return ""
}

func (w *World) unheard(c *client) string {
	k := c.now
	switch {
	case k == nil || k.state != connOpen:
		return fmt.Sprintf("client %d is in no room", c.number)
	case k.paused:
		return fmt.Sprintf("client %d, conn %d at %s is paused", c.number, k.id, k.lane.router.name)
	case len(k.wire)+len(k.out)+len(k.ear.buf) > 0:
		return fmt.Sprintf("client %d, conn %d: %d bytes in its socket, %d behind it, %d of a frame", c.number, k.id, len(k.wire), len(k.out), len(k.ear.buf))
	}
	if now := w.present(c.room); now == nil || !k.ear.complete(now) {
		return fmt.Sprintf("client %d, conn %d at %s in %s: heard up to %v %v%v, the log is %+v", c.number, k.id, k.lane.router.name, c.room, k.opt, c.since, showPlaces(k.ear.places), now.show())
	}
	return ""
}

// owner is the shard that the Table names.
func (w *World) owner(p proto.Partition) *shard {
	l := w.leader()
	for _, s := range w.shards {
		if l != nil && s.alive && s.name == l.keeper.Table().Row(p).Owner {
			return s
		}
	}
	return nil
}

// present is the log of a room at its owner.
func (w *World) present(room string) *epoch {
	p := w.shape.part(room)
	if s := w.owner(p); s != nil {
		if info, ok := s.lane(p).core.Room(room); ok {
			return w.ledger.byEpoch[info.Epoch]
		}
	}
	return nil
}

func (e *epoch) show() string {
	if e == nil {
		return "nowhere"
	}
	return proto.Position{Epoch: e.name, Offset: e.head()}.String()
}

// unkept: an owner has all that was ever committed, holds nothing back, and
// counts who is here.
func (w *World) unkept(s *shard) string {
	for _, l := range s.lanes {
		if x := l.core.Stats(); x.HeldBytes > 0 || x.Learning > 0 || x.Missing > 0 || x.Corrupt > 0 {
			return fmt.Sprintf("%s: %d bytes held, %d learning, %d missing, %d corrupt", s.name, x.HeldBytes, x.Learning, x.Missing, x.Corrupt)
		}
		if wishes := l.core.Wishes(nil, w.Time()); len(wishes) > 0 {
			return fmt.Sprintf("%s wishes %+v", s.name, wishes)
		}
	}
	for _, room := range w.shape.rooms {
		p := w.shape.part(room)
		info, ok := s.lane(p).core.Room(room)
		row := &s.lane(p).rows[p]
		if s.name != row.Owner {
			if ok {
				return fmt.Sprintf("%s has room %s, which is %s's", s.name, room, row.Owner)
			}
			continue
		}
		for _, e := range w.ledger.epochsOf(room) {
			if e.life.since == row.Since && (e.head() > 0 || e.told) && (e.name != info.Epoch || e.head() != info.Offset) {
				return fmt.Sprintf("%s has room %s up to %s, but %s was committed", s.name, room, proto.Position{Epoch: info.Epoch, Offset: info.Offset}, e.show())
			}
		}
		want, have := 0, info.Members
		for _, c := range w.clients {
			if c.room == room {
				want++
			}
		}
		if want != have {
			return fmt.Sprintf("%s counts %d members in room %s at %v; there are %d", s.name, have, room, info.Routers, want)
		}
	}
	return ""
}

// unequal: all copies of a partition are the same.
func (w *World) unequal(t *cluster.Table) string {
	for p, row := range t.Rows() {
		if why := w.compare(p, row); why != "" {
			return why
		}
	}
	return ""
}

func (w *World) compare(p proto.Partition, row plan.Row) string {
	type copy struct {
		index proto.Index
		sum   uint64
	}
	var first copy
	for i, name := range copies(row) {
		for _, s := range w.shards {
			if s.name != name {
				continue
			}
			index, sum, ok := s.lane(p).core.Digest(p)
			switch x := (copy{index, sum}); {
			case !ok:
				return fmt.Sprintf("%s has no whole copy of partition %d", name, p)
			case i == 0:
				first = x
			case x != first:
				return fmt.Sprintf("partition %d is %x at %s and %x at %s", p, first, row.Owner, x, name)
			}
		}
	}
	return ""
}

// checkRouters is asked some time after everybody has left.
func (w *World) checkRouters() {
	for _, r := range w.routers {
		for _, l := range r.lanes {
			if s := l.hub.Stats(); r.alive && (s.Rooms != 0 || s.Tails != 0 || s.Unacknowledged != 0) {
				w.Fail("%s is empty and keeps %d rooms, %d bytes of tails, %d unacknowledged", r.name, s.Rooms, s.Tails, s.Unacknowledged)
			}
		}
	}
}

// checkShards is asked once all history is too old.
func (w *World) checkShards() {
	for _, s := range w.shards {
		for _, l := range s.lanes {
			if t := l.core.Stats(); s.alive && (t.Rooms != 0 || t.HistoryBytes != 0 || t.HeldBytes != 0 || t.PendingBytes != 0) {
				w.Fail("%s is empty and keeps %d rooms, %d bytes of logs, %d of entries, %d of frames", s.name, t.Rooms, t.HistoryBytes, t.PendingBytes, t.HeldBytes)
			}
		}
	}
	if why := w.unequal(w.leader().table); why != "" {
		w.Fail("%s", why)
	}
}
