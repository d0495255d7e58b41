package sim

import (
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// shard is one run of a shard's process.
type shard struct {
	*node
	lanes []*shardLane
}

// shardLane is what a lane of package shard does, without sockets.
type shardLane struct {
	shard   *shard
	number  int
	core    *partition.Lane
	links   []*end
	auditor *partition.Peer // reads along; see ledger.go
	turns   bool
	dirty   []*partition.Peer
	wishes  []proto.Wish
	rows    []partition.Row // as the core was told; by partition, those of other lanes are unused
	reigns  []reign         // the same
	met     []proto.NodeName
	seen    partition.Stats // when the logs were last audited
}

func (w *World) startShard(n *node) {
	s := &shard{node: n}
	for i := range w.shape.shardLanes {
		l := &shardLane{shard: s, number: i, rows: make([]partition.Row, w.shape.partitions), reigns: make([]reign, w.shape.partitions)}
		cfg := partition.Config{
			Self: n.name, Lane: i, Lanes: w.shape.shardLanes, Partitions: w.shape.partitions,
			MinCopies: w.shape.minCopies, SnapshotRate: w.shape.snapshotRate,
			MaxMessage: w.shape.maxMessage, HistoryMessages: 1 << 20, HistoryBytes: 1 << 30, Total: 1 << 30,
			HistoryAge: time.Minute, Bits: w.Rand.Uint64, Break: w.opt.Partition,
		}
		if w.shape.tight {
			cfg.HistoryMessages, cfg.WindowAge = 6, -1
		}
		l.core = partition.NewLane(cfg)
		l.auditor = l.core.RouterUp("auditor/0000000000001", 0, 1)
		s.lanes = append(s.lanes, l)
		n.lanes = append(n.lanes, l)
	}
	w.shards = append(w.shards, s)
}

func (s *shard) lane(p proto.Partition) *shardLane { return s.lanes[int(p)%len(s.lanes)] }

func (l *shardLane) w() *World { return l.shard.w }

// learn takes what is new in the Table.
func (l *shardLane) learn() {
	t := l.shard.table
	if t == nil {
		return
	}
	for p := l.number; p < len(l.rows); p += len(l.shard.lanes) {
		row, was := rowOf(t, proto.Partition(p)), &l.rows[p]
		if row.Term == was.Term && row.Learner == was.Learner && row.Freezing == was.Freezing {
			continue
		}
		l.w().Trace("%s learns: partition %d is %v", l.shard.name, p, showRow(&row))
		if row.Owner != l.shard.name || was.Owner != l.shard.name || was.Since != row.Since {
			l.reigns[p] = reign{}
		}
		l.rows[p] = row
		l.core.SetTable(proto.Partition(p), row, l.w().Time())
		l.audit(proto.Partition(p))
	}
	l.wake()
}

// see takes the node's view: routers that are not heard of any more have left.
func (l *shardLane) see() {
	v := l.shard.view
	l.met = slices.DeleteFunc(l.met, func(name proto.NodeName) bool {
		if v.State(name) != cluster.Dead || l.linked(name) {
			return false
		}
		l.core.RouterGone(name)
		return true
	})
	l.wake()
}

func (l *shardLane) linked(name proto.NodeName) bool {
	return slices.ContainsFunc(l.links, func(e *end) bool { return e.far().node.name == name })
}

func (l *shardLane) promise(list []proto.Promise) []proto.Promise {
	for i := range list {
		list[i].Status = l.core.Promise(list[i].Partition, list[i].Term, l.w().Time())
		l.audit(list[i].Partition)
	}
	l.wake()
	return list
}

func (l *shardLane) tick() {
	l.core.Tick(l.w().Time())
	l.auditAll()
	l.wish()
	l.wake()
}

// wish hands on what the lane's partitions want of the coordinator.
func (l *shardLane) wish() {
	l.wishes = l.core.Wishes(l.wishes[:0], l.w().Time())
	l.shard.wish(l.wishes)
}

func (l *shardLane) wake() {
	if l.turns {
		return
	}
	l.turns = true
	l.w().After(time.Duration(l.w().Rand.Int64N(int64(300*time.Microsecond))), func() { l.shard.do(l.turn) })
}

// turn is the end of a wake-up, in the order of package shard.
func (l *shardLane) turn() {
	l.turns = false
	filled := false
	l.dirty = l.core.Dirty(l.dirty[:0])
	for _, peer := range l.dirty {
		e, ok := peer.Tag.(*end)
		if !ok {
			continue // the auditor
		}
		e.out.send(control, l.core.Control(peer, nil))
		if space := e.out.space(); space > 0 {
			if e.out.unstored == 0 {
				space = max(space, l.w().shape.largest()) // else the largest messages never go
			}
			b := l.core.Fill(peer, nil, space)
			filled = filled || len(b) > 0
			e.out.send(data, b)
		}
	}
	l.auditAll()
	l.wish()
	if filled {
		l.wake() // there may be more
	}
	if p, term, need := l.core.NeedTable(); need {
		l.shard.needTable(p, term)
	}
}

func (l *shardLane) linkUp(e *end) {
	for _, old := range l.links {
		if old.link.pair == e.link.pair {
			l.linkDown(old) // the mesh ends the older one first
			break
		}
	}
	far := e.far().node
	if e.toRouter() {
		e.peer = l.core.RouterUp(far.name, e.link.pair.index, e.link.pair.count)
		if !slices.Contains(l.met, far.name) {
			l.met = append(l.met, far.name)
		}
	} else {
		e.peer = l.core.ShardUp(far.name, e.link.pair.index, e.link.pair.count)
	}
	e.peer.Tag = e
	l.links = append(l.links, e)
	l.auditAll()
	l.wake()
}

func (l *shardLane) linkDown(e *end) {
	if !slices.Contains(l.links, e) {
		return
	}
	l.links = without(l.links, e)
	l.core.Down(e.peer)
	l.auditAll()
	l.wake()
}

// frame hands a frame of another node in. What it leads to in the logs is looked
// at before anything else happens.
func (l *shardLane) frame(e *end, typ proto.FrameType, body []byte) {
	w := l.w()
	p, term, err := proto.ParseHead(body)
	if err != nil {
		w.Fail("%s wrote a broken frame: %v", e.far().node.name, err)
	}
	before := l.core.Stats().AppendedBytes
	if err := l.core.Frame(e.peer, typ, body, w.Time()); err != nil {
		w.Fail("%s does not accept a frame of %s: %v", l.shard.name, e.far().node.name, err)
	}
	if known := l.rows[p].Term; typ == proto.FramePublish && term < known && w.opt.Directed == 0 && l.core.Stats().AppendedBytes != before {
		w.Fail("%s knows term %d of partition %d and took a publish of term %d", l.shard.name, known, p, term)
	}
	l.audit(p)
	l.wake()
}
