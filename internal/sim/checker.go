package sim

import "github.com/roomring/roomring/proto"

// checkSettled is asked some time after the last fault and the last message:
// now everything must have arrived and nobody may wait for anything.
func (w *World) checkSettled() {
	w.trace("everything must have settled")
	for _, p := range w.pairs {
		w.checkPair(p)
	}
	for _, r := range w.routers {
		if r.alive {
			w.checkPublished(r)
		}
	}
	for _, c := range w.clients {
		w.checkMember(c)
	}
	for _, s := range w.shards {
		if s.alive {
			w.checkOwner(s)
		}
	}
}

func (w *World) checkPair(p *pair) {
	if !p.alive() {
		return
	}
	if p.now == nil || p.now.dead {
		w.fail("%s and %s have no link", p.router.name, p.shard.name)
	}
	if up, down := p.now.up.underWay(), p.now.down.underWay(); up+down > 0 {
		w.fail("link %s: %d frames up and %d down are still under way", p.now, up, down)
	}
}

// checkPublished: every publish was acknowledged, and is where that says.
func (w *World) checkPublished(r *router) {
	for p := range r.seqs {
		if q := &r.seqs[p]; q.settled != proto.Seq(len(q.sent)) {
			w.fail("%s has sent up to seq %d in partition %d, and %d are acknowledged", r.name, len(q.sent), p, q.settled)
		}
	}
	for _, x := range r.sent {
		switch {
		case x.voided || x.tooBig || x.seq == 0 && w.shape.publishTimeout < patience:
		case x.seq == 0:
			w.fail("%s never sent %.40q", r.name, x.payload)
		case len(x.tenures) == 0 && !w.ledger.hazy:
			w.fail("%s had %.40q acknowledged, which is in no log", r.name, x.payload)
		}
	}
	for _, l := range r.lanes {
		if s := l.hub.Stats(); s.Unacknowledged+s.Waiting+s.Lagging > 0 {
			w.fail("%s, lane %d: %d bytes unacknowledged, %d members waiting, %d lagging", r.name, l.number, s.Unacknowledged, s.Waiting, s.Lagging)
		}
	}
}

func (w *World) checkMember(c *client) {
	k := c.now
	switch {
	case k == nil || k.state != connOpen:
		w.fail("client %d is in no room", c.number)
	case k.paused:
		w.fail("client %d, conn %d at %s is paused", c.number, k.id, k.lane.router.name)
	case len(k.wire)+len(k.out)+len(k.ear.buf) > 0:
		w.fail("client %d, conn %d: %d bytes in its socket, %d behind it, %d of a frame", c.number, k.id, len(k.wire), len(k.out), len(k.ear.buf))
	}
	if now := w.present(c.room); now == nil || !k.ear.complete(now) {
		w.fail("client %d, conn %d at %s in %s: heard up to %v %v%v, the log is %+v", c.number, k.id, k.lane.router.name, c.room, k.opt, c.since, showPlaces(k.ear.places), now.show())
	}
}

// present is the log of a room at the owner that the Table names.
func (w *World) present(room string) *epoch {
	p := w.shape.part(room)
	for _, s := range w.shards {
		if s.alive && s.name == w.table.rows[p].Owner {
			if info, ok := s.lane(p).core.Room(room); ok {
				return w.ledger.byEpoch[info.Epoch]
			}
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

// checkOwner: an owner holds nothing back, and counts who is here.
func (w *World) checkOwner(s *shard) {
	for _, l := range s.lanes {
		if n := l.core.Stats().HeldBytes; n > 0 {
			w.fail("%s still holds %d bytes", s.name, n)
		}
	}
	for _, room := range w.shape.rooms {
		p := w.shape.part(room)
		info, ok := s.lane(p).core.Room(room)
		if s.name != w.table.rows[p].Owner {
			if ok {
				w.fail("%s has room %s, which is %s's", s.name, room, w.table.rows[p].Owner)
			}
			continue
		}
		want, have := 0, info.Members
		for _, c := range w.clients {
			if c.room == room {
				want++
			}
		}
		if want != have {
			w.fail("%s counts %d members in room %s at %v; there are %d", s.name, have, room, info.Routers, want)
		}
	}
}

// checkRouters is asked some time after everybody has left.
func (w *World) checkRouters() {
	for _, r := range w.routers {
		for _, l := range r.lanes {
			if s := l.hub.Stats(); r.alive && (s.Rooms != 0 || s.Tails != 0 || s.Unacknowledged != 0) {
				w.fail("%s is empty and keeps %d rooms, %d bytes of tails, %d unacknowledged", r.name, s.Rooms, s.Tails, s.Unacknowledged)
			}
		}
	}
}

// checkShards is asked once all history is too old.
func (w *World) checkShards() {
	for _, s := range w.shards {
		for _, l := range s.lanes {
			if t := l.core.Stats(); s.alive && (t.Rooms != 0 || t.HistoryBytes != 0 || t.HeldBytes != 0) {
				w.fail("%s is empty and keeps %d rooms, %d bytes of logs, %d bytes of frames", s.name, t.Rooms, t.HistoryBytes, t.HeldBytes)
			}
		}
	}
}
