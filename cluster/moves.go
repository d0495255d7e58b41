package cluster

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	// quietFor is how long no shard may have come, gone or become suspect before a move begins.
	quietFor = time.Second

	// learnFor and freezeFor bound a move's states. Owners undo a freeze sooner; this is for those
	// that do not get that far.
	learnFor  = 30 * time.Second
	freezeFor = 5 * time.Second

	// maxLate bounds how often a move's learnFor is doubled when it was not enough: a lesson begins anew
	// each time, and one that takes longer would never end.
	maxLate = 4
)

// PlaceJob is a Placement that the coordinator needs and that takes too long for its loop.
type PlaceJob struct {
	previous   *plan.Placement
	settings   plan.Settings
	shards     []plan.Shard
	partitions int
}

// Run makes the Placement. It may be called in any goroutine.
func (j *PlaceJob) Run() *plan.Placement {
	return plan.Place(j.previous, j.settings, j.shards, j.partitions)
}

// places is where copies should be.
type places struct {
	have  *plan.Placement // the last one; nil before the first
	need  *PlaceJob       // nil when have is as new as can be
	under bool            // a job was handed out and is not done
}

// Job returns what Placed has to be told the result of, if there is something and nothing is being
// worked on.
func (k *Keeper) Job() (*PlaceJob, bool) {
	job := k.places.need
	if job == nil || k.places.under {
		return nil, false
	}
	k.places.need, k.places.under = nil, true
	return job, true
}

// Placed is told what has come of the last Job.
func (k *Keeper) Placed(now time.Time, p *plan.Placement) {
	k.places.have, k.places.under = p, false
	k.lead.due = true
	k.Tick(now)
}

// moving is what a coordinator knows of moves beside the Table.
type moving struct {
	shards  []standing // as they were when that was last looked at
	stirred time.Time  // when that was another picture
	rest    map[proto.Partition]time.Time
	slow    map[proto.Partition]int // how often its last moves in a row took too long
	began   map[proto.Partition]stage
}

// standing is how the coordinator sees a shard.
type standing struct {
	name           proto.NodeName
	suspect, lives bool
}

// stage is since when a move has been as it is.
type stage struct {
	move  plan.Move
	since time.Time
}

func newMoving() moving {
	return moving{rest: make(map[proto.Partition]time.Time), slow: make(map[proto.Partition]int), began: make(map[proto.Partition]stage)}
}

// watchShards notes when a shard came, went, became suspect, or was heard of again.
func (k *Keeper) watchShards(now time.Time) {
	var shards []standing
	own := k.Instance()
	for i := range k.view.nodes {
		if n := &k.view.nodes[i]; n.LiveShard() && n.Instance == own {
			shards = append(shards, standing{n.Name, n.State == Suspect, k.verdict(now, n.Name) == plan.Lives})
		}
	}
	if m := &k.lead.moving; !slices.Equal(shards, m.shards) {
		m.shards, m.stirred = shards, now
	}
}

// wanted is where the shards that are there should have copies, nil while that is being worked out. Shards
// on the Ring that this node has lost do not count: nothing can be given to them.
func (k *Keeper) wanted(verdict func(proto.NodeName) plan.Verdict) *plan.Wanted {
	lost := func(name proto.NodeName) bool { return verdict(name) != plan.Lives }
	return k.wantedOf(slices.DeleteFunc(slices.Clone(k.ring.shards), lost))
}

// wantedOf is where these shards, sorted by id, should have copies, nil while that is being worked out.
func (k *Keeper) wantedOf(runs []proto.NodeName) *plan.Wanted {
	shards := make([]plan.Shard, len(runs))
	for i, name := range runs {
		n, _ := k.view.Node(name)
		shards[i] = plan.Shard{ID: name.ID(), Zone: n.Zone}
	}
	s := k.settings()
	switch {
	case len(shards) == 0 || s.Check() != nil:
		return nil // a version that places otherwise moves things
	case !k.places.have.Fits(s, shards, k.cfg.Partitions):
		k.places.need = &PlaceJob{k.places.have, s, shards, k.cfg.Partitions}
		return nil
	}
	k.places.need = nil
	return &plan.Wanted{Placement: k.places.have, Runs: runs}
}

// missed reports whether this node has lost its link to the node too, and has not heard of it since.
func (k *Keeper) missed(name proto.NodeName) bool {
	return !k.reaches(name) && k.deaths.had(name) && !k.deaths.answers[name]
}

// move ends moves, has them get on, and begins new ones where the command leaves room.
func (k *Keeper) move(now time.Time, d *draft) {
	rows, c := d.table.rows, d.command
	under := moves(d.table.Moves, c.Moves, c.Ended)
	on, ended := plan.Upkeep(rows, untouched(under, d), d.scene)
	for _, p := range append(ended, k.late(now, under)...) {
		if k.lead.failover.asked[p] == nil { // else its heir ends it, in the term that it promises
			d.end(p)
		}
	}
	c.Moves = append(c.Moves, slices.DeleteFunc(on, func(m plan.Move) bool { return slices.Contains(c.Ended, m.Partition) })...)
	under = moves(d.table.Moves, c.Moves, c.Ended)

	m := &k.lead.moving
	most := k.cfg.MaxMoves - len(under)
	if d.scene.Wanted == nil || most <= 0 || now.Sub(m.stirred) < quietFor || now.Sub(k.lead.since) < quietFor || k.lead.failover.pending(now) {
		return
	}
	trimmed := k.lead.survey.Trim(under, most)
	rests := func(p proto.Partition) bool { return d.changed[p] || now.Before(m.rest[p]) } // a row that changes is looked at when it has
	begun := k.lead.survey.Begin(under, rests, most)
	for _, x := range trimmed {
		if !d.changed[x.Partition] {
			d.change(x)
		}
	}
	c.Moves = append(c.Moves, begun...)
	k.stats.MovesBegun.Add(uint64(len(begun)))
	if len(begun) > 0 && len(d.table.Moves) == 0 {
		k.log.Info("partitions begin to move", zap.Int("at_a_time", k.cfg.MaxMoves))
	}
}

// untouched are the moves of rows that the command does not change: those that it does change were looked
// at then.
func untouched(under []plan.Move, d *draft) []plan.Move {
	return slices.DeleteFunc(slices.Clone(under), func(m plan.Move) bool { return d.changed[m.Partition] })
}

// late returns the partitions whose move takes too long; they rest for a while. It forgets what is
// over.
func (k *Keeper) late(now time.Time, under []plan.Move) (list []proto.Partition) {
	m := &k.lead.moving
	began := make(map[proto.Partition]stage, len(under))
	for _, x := range under {
		s := m.began[x.Partition]
		if s.move != x {
			s = stage{x, now}
		}
		began[x.Partition] = s
		bound := learnFor << m.slow[x.Partition] // its shift is at most maxLate
		if x.State == plan.Freezing {
			bound = freezeFor
		}
		if now.Sub(s.since) >= bound {
			list = append(list, x.Partition)
			k.stats.MovesLate.Add(1)
			m.rest[x.Partition] = now.Add(restFor)
			if x.State == plan.Learning {
				m.slow[x.Partition] = min(m.slow[x.Partition]+1, maxLate)
			}
			k.log.Warn("a move takes too long and is put off", zap.Uint16("partition", uint16(x.Partition)), zap.Stringer("state", x.State), zap.String("node", string(x.To)))
		}
	}
	for p, s := range m.began {
		if now.Sub(s.since) < learnFor && began[p].move.State == 0 {
			delete(m.slow, p) // it ended in time, one way or the other
		}
	}
	m.began = began
	for p, until := range m.rest {
		if !now.Before(until) {
			delete(m.rest, p)
		}
	}
	return list
}
