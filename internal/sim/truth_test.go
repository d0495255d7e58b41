package sim

import (
	"testing"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

// TestCaused: a follower takes over from an owner that its leader has a link to, or not, or that an
// operator has called dead while the silence of its link was not noticed yet.
func TestCaused(t *testing.T) {
	owner, follower := proto.NodeName("s0/0000000000001"), proto.NodeName("s1/0000000000001")
	was := plan.Row{Owner: owner, Followers: []proto.NodeName{follower}, Term: 1, Since: 1}
	for name, c := range map[string]struct {
		linked    bool
		forgotten []proto.NodeName
		caused    bool
	}{
		"linked":                {true, nil, false},
		"not linked":            {false, nil, true},
		"linked, and forgotten": {true, []proto.NodeName{owner}, true},
		"another is forgotten":  {true, []proto.NodeName{"s2/0000000000001"}, false},
	} {
		w := &World{Timeline: timeline.New(1, 0, nil), byName: map[proto.NodeName]*node{owner: {}}}
		w.ledger = newLedger(w)
		n := &node{w: w, name: follower, first: map[proto.NodeName]*end{}}
		n.keeper = cluster.NewKeeper(cluster.KeeperConfig{Self: follower, Role: proto.RoleShard, Partitions: 1})
		head := cluster.Head{Instance: proto.Instance{1}, Version: 1, Settings: plan.DefaultSettings(), Forgotten: c.forgotten}
		n.keeper.SetRegister(w.Time(), cluster.Status{Founding: proto.Founding{Instance: head.Instance}, Table: cluster.NewTable(head, []plan.Row{was})})
		if c.linked {
			n.first[owner] = &end{}
		}
		err := w.Play(func() {
			w.ledger.caused(n, 0, was, plan.Row{Owner: follower, Term: 2, Since: 1})
		})
		if (err == nil) != c.caused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
