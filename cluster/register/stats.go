package register

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Stats is what raft does here, and what it did since New. It is a copy.
type Stats struct {
	State       [4]int        `metric:"gauge" label:"state" labels:"idle,follower,candidate,leader" help:"1 for the state that raft is in here; idle is a node without a log."`
	RaftTerm    uint64        `metric:"gauge" help:"Raft's current term; not that of a partition."`
	LastIndex   uint64        `metric:"gauge" help:"Raft index of the last entry in this node's log."`
	CommitIndex uint64        `metric:"gauge" help:"Raft index up to which this node knows the log to be committed."`
	Applied     uint64        `metric:"gauge" name:"applied_index" help:"Raft index up to which the log is applied here."`
	Voters      int           `metric:"gauge" help:"Voters of the configuration that this node knows."`
	Learners    int           `metric:"gauge" help:"Servers of that configuration without a vote."`
	LastContact time.Duration `metric:"gauge" help:"Time since the leader was heard; 0 at the leader, and before the first word."`

	LeaderChanges uint64 `help:"Times that another leader was heard of."`
	Snapshots     uint64 `help:"Snapshots taken."`
	Restores      uint64 `help:"Snapshots that replaced what was applied here, the one of the start included."`
	Failures      uint64 `help:"Times that raft could not go on, because the data directory could not be read or written."`
}

// The places of Stats.State.
const (
	idle = iota
	follower
	candidate
	leader
)

// counts are what outlives a life of raft.
type counts struct{ leaders, snapshots, restores, failures atomic.Uint64 }

// Stats may be called from any goroutine. It waits for nobody.
func (r *Register) Stats() Stats {
	s := Stats{
		LeaderChanges: r.counts.leaders.Load(), Snapshots: r.counts.snapshots.Load(),
		Restores: r.counts.restores.Load(), Failures: r.counts.failures.Load(),
	}
	at := r.now()
	s.Applied = at.seen.facts.Load().index
	if at.life == nil || at.life.over.Load() {
		s.State[idle] = 1
		return s
	}
	at.life.describe(&s)
	return s
}

func (l *life) describe(s *Stats) {
	s.RaftTerm, s.LastIndex, s.CommitIndex = l.raft.CurrentTerm(), l.raft.LastIndex(), l.raft.CommitIndex()
	for _, server := range l.servers() {
		if server.Voter {
			s.Voters++
		} else {
			s.Learners++
		}
	}
	switch l.raft.State() {
	case raft.Leader:
		s.State[leader] = 1
		return
	case raft.Candidate:
		s.State[candidate] = 1
	case raft.Follower:
		s.State[follower] = 1
	default:
		s.State[idle] = 1
	}
	if heard := l.raft.LastContact(); !heard.IsZero() {
		s.LastContact = time.Since(heard)
	}
}
