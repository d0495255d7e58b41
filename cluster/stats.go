package cluster

import (
	"sync/atomic"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Stats counts what happened at this node since it started. What a coordinator decides is counted where
// it was decided; a command that failed is decided on again, and counts again.
type Stats struct {
	Frames        atomic.Uint64 `help:"Frames about the Table that were handled."`
	FramesDropped atomic.Uint64 `help:"Frames about the Table that came while the inbox was full."`
	FramesBad     atomic.Uint64 `help:"Frames about the Table that could not be understood."`

	Suspicions    atomic.Uint64    `help:"Times that a node became suspect here: its link was lost, and gossip had not judged."`
	Proofs        [5]atomic.Uint64 `label:"fate" labels:"-,-,refused,replaced,left" help:"Deaths that were proved, by what proved them."`
	LeadersLost   atomic.Uint64    `help:"Times that no majority of the voters was reached any more."`
	TablesApplied atomic.Uint64    `help:"Tables that this node took, each newer than the one before."`

	Commands       atomic.Uint64    `help:"Changes of the Table that this node proposed while it led."`
	CommandsFailed atomic.Uint64    `help:"Changes of the Table that this node proposed and that were not committed in time."`
	MovesBegun     atomic.Uint64    `help:"Moves of a partition that this node began while it led: hand-offs, and copies to be made."`
	MovesLate      atomic.Uint64    `help:"Moves that this node put off while it led, because they took too long."`
	WishesGranted  [7]atomic.Uint64 `label:"wish" labels:"-,drop,overdue,add,ready,undo,renew" help:"Wishes of owners that this node granted while it led: drop or overdue ends a follower, add makes one, ready ends a hand-off, undo puts it off."`
	VoterSteps     atomic.Uint64    `help:"Changes of the voters that this node began while it led."`
}

// Figures are what a node sees of its cluster now, as numbers.
type Figures struct {
	Shards  [4]int `metric:"gauge" label:"state" labels:"alive,suspect,draining,dead" help:"Shards that this node sees, or that its Table names, by what is thought of them."`
	Routers [4]int `metric:"gauge" label:"state" labels:"alive,suspect,draining,dead" help:"Routers that this node sees, by what is thought of them."`

	Partitions int    `metric:"gauge" help:"Partitions of the cluster, 0 until this node learned its Table."`
	Followers  uint8  `metric:"gauge" help:"Copies beside the owner's that every partition should have: --followers of who leads."`
	Ownerless  int    `metric:"gauge" name:"ownerless_partitions" help:"Partitions without an owner that lives."`
	Misplaced  int    `metric:"gauge" name:"misplaced_partitions" help:"Partitions whose owner is not the one that the ring wants."`
	Moves      [2]int `metric:"gauge" label:"state" labels:"learning,freezing" help:"Moves under way: a copy is made, or a hand-off is in its last moment."`

	HasLeader   int    `metric:"gauge" help:"1 while a coordinator is known: else the Table cannot change."`
	Leading     int    `metric:"gauge" help:"1 while this node is the coordinator."`
	Outnumbered int    `metric:"gauge" help:"1 while more nodes of another instance of the cluster are seen than of this one."`
	Table       uint64 `metric:"gauge" name:"table_version" help:"Version of this node's copy of the Table."`
	Generation  uint32 `metric:"gauge" help:"How often the cluster was founded, recoveries included."`
}

// Figures returns what this node sees now. It walks over the Table once.
func (c *Cluster) Figures() Figures {
	view, ring, table, stance := c.View(), c.Ring(), c.Table(), c.Stance()
	f := Figures{
		HasLeader: one(stance.Leader != ""), Leading: one(stance.Leading),
		Outnumbered: one(c.Outnumbered()), Generation: stance.Founding.Generation,
	}
	for _, n := range Known(view, table) {
		of := &f.Shards
		if n.Role == proto.RoleRouter {
			of = &f.Routers
		}
		of[n.State]++
	}
	if table == nil {
		return f
	}
	f.Partitions, f.Followers, f.Table = table.Partitions(), table.Settings.Followers, table.Version
	lives := make(map[proto.NodeName]bool)
	for name := range table.named {
		lives[name] = view.State(name) != Dead
	}
	for p, row := range table.rows.All() {
		f.Ownerless += one(!lives[row.Owner])
		f.Misplaced += one(row.Owner != ring.Wanted(p))
	}
	for _, m := range table.Moves {
		f.Moves[one(m.State == plan.Freezing)]++
	}
	return f
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
