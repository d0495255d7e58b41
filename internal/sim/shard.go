package sim

import (
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// shard is one run of a shard's process.
type shard struct {
	w     *World
	place int
	name  proto.NodeName
	alive bool
	lanes []*shardLane
	known knowledge
	reign []*tenure // by partition; nil: not owned
}

// shardLane is what a lane of package shard does, without sockets.
type shardLane struct {
	shard   *shard
	number  int
	core    *partition.Lane
	links   []*link
	auditor *partition.Peer // reads along; see ledger.go
	turns   bool
	dirty   []*partition.Peer
}

func (w *World) startShard(place int) *shard {
	s := &shard{w: w, place: place, alive: true, name: w.name("s", place), reign: make([]*tenure, w.shape.partitions)}
	s.known.rows = make([]plan.Row, w.shape.partitions)
	for i := range w.shape.shardLanes {
		l := &shardLane{shard: s, number: i}
		cfg := partition.Config{
			Self: s.name, Lane: i, Lanes: w.shape.shardLanes, Partitions: w.shape.partitions,
			MaxMessage: w.shape.maxMessage, HistoryMessages: 1 << 20, HistoryBytes: 1 << 30, Total: 1 << 30,
			HistoryAge: time.Minute, Bits: w.rnd.Uint64, Break: w.opt.Partition,
		}
		if w.shape.tight {
			cfg.HistoryMessages, cfg.WindowAge = 6, -1
		}
		l.core = partition.NewLane(cfg)
		l.auditor = l.core.RouterUp("auditor/0000000000001", 0, 1)
		s.lanes = append(s.lanes, l)
		w.ticks(func() bool { return s.alive }, func() { l.core.Tick(w.time()); l.wake() })
	}
	w.shards = append(w.shards, s)
	w.trace("%s starts", s.name)
	for _, r := range w.routers {
		if r.alive {
			w.meet(r, s)
		}
	}
	w.table.tell(s)
	w.after(w.between(20*time.Millisecond, 500*time.Millisecond), func() { w.table.see(s, true) })
	return s
}

// crash ends the process, and all that it knew.
func (s *shard) crash() {
	w := s.w
	w.trace("%s dies", s.name)
	s.alive = false
	for p, t := range s.reign {
		t.end()
		s.reign[p] = nil
	}
	for _, l := range s.lanes {
		l.links = nil
	}
	w.part(nil, s)
	w.after(w.between(10*time.Millisecond, 1500*time.Millisecond), func() { w.table.see(s, false) })
}

// learn takes a row of the Table.
func (s *shard) learn(p proto.Partition, row plan.Row) {
	was := s.known.rows[p].Term
	if !s.alive || !s.known.take(p, row) {
		return
	}
	l := s.lane(p)
	owned := row.Owner == s.name
	switch {
	case owned && (s.reign[p] == nil || row.Since > was): // in between it was another's
		s.reign[p].end()
		s.reign[p] = &tenure{shard: s, part: p, term: row.Term}
	case !owned:
		s.reign[p].end()
		s.reign[p] = nil
	}
	l.core.SetTable(p, row.Owner, row.Followers, row.Term, row.Since, s.w.time())
	l.audit(p)
	l.wake()
}

// setRouters is what gossip tells: who is not heard of any more has left.
func (s *shard) setRouters() {
	if !s.alive {
		return
	}
	for _, r := range s.w.routers {
		for _, l := range s.lanes {
			if !r.alive && !l.linked(r) {
				l.core.RouterGone(r.name)
			}
		}
	}
}

func (l *shardLane) linked(r *router) bool {
	for _, k := range l.links {
		if k.pair.router == r {
			return true
		}
	}
	return false
}

func (s *shard) lane(p proto.Partition) *shardLane { return s.lanes[int(p)%len(s.lanes)] }

func (s *shard) isAlive() bool        { return s.alive }
func (s *shard) self() proto.NodeName { return s.name }
func (s *shard) knows() *knowledge    { return &s.known }

func (l *shardLane) wake() {
	if l.turns {
		return
	}
	l.turns = true
	w := l.shard.w
	w.after(time.Duration(w.rnd.Int64N(int64(300*time.Microsecond))), l.turn)
}

// turn is the end of a wake-up, in the order of package shard.
func (l *shardLane) turn() {
	l.turns = false
	if !l.shard.alive {
		return
	}
	l.dirty = l.core.Dirty(l.dirty[:0])
	for _, peer := range l.dirty {
		k, ok := peer.Tag.(*link)
		if !ok {
			continue // the auditor
		}
		k.down.control(l.core.Control(peer, nil))
		if space := k.down.space(); space > 0 {
			k.down.data(l.core.Fill(peer, nil, space))
		}
	}
	if _, _, need := l.core.NeedTable(); need {
		l.shard.w.table.fetch(l.shard)
	}
}

func (l *shardLane) linkUp(k *link) {
	for _, old := range l.links {
		if old.pair == k.pair {
			l.linkDown(old) // the mesh ends the older one first
			break
		}
	}
	l.shard.w.trace("%s: link %s up", l.shard.name, k)
	k.peer = l.core.RouterUp(k.pair.router.name, k.pair.index, k.pair.count)
	k.peer.Tag = k
	l.links = append(l.links, k)
	l.wake()
}

func (l *shardLane) linkDown(k *link) {
	l.shard.w.trace("%s: link %s down", l.shard.name, k)
	l.links = without(l.links, k)
	l.core.RouterDown(k.peer)
	l.wake()
}

// frame hands a frame of a router in. What it leads to in the logs is looked at
// before anything else happens.
func (l *shardLane) frame(k *link, typ proto.FrameType, body []byte) {
	w := l.shard.w
	p, term, err := proto.ParseHead(body)
	if err != nil {
		w.fail("%s wrote a broken frame: %v", k.pair.router.name, err)
	}
	if err := l.core.Frame(k.peer, typ, body, w.time()); err != nil {
		w.fail("%s does not accept a frame of %s: %v", l.shard.name, k.pair.router.name, err)
	}
	if grew := l.audit(p); grew && term < l.shard.known.rows[p].Term {
		w.fail("%s knows term %d of partition %d and took a publish of term %d", l.shard.name, l.shard.known.rows[p].Term, p, term)
	}
	l.wake()
}
