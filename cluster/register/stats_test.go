package register

import (
	"testing"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// TestStats: what is shown of raft is what it does.
func TestStats(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		for p := range proto.Partition(8) {
			all[0].must(all[0].change(p))
		}
		w.settled()
		for i, n := range all {
			s, status := n.register.Stats(), n.register.Status()
			want := [4]int{follower: 1}
			if i == 0 {
				want = [4]int{leader: 1}
			}
			if s.State != want || s.Voters != 3 || s.Learners != 0 || s.LeaderChanges != 1 || s.Failures != 0 {
				t.Errorf("%s: %+v", n.name, s)
			}
			if s.RaftTerm == 0 || s.Applied != status.Applied || s.CommitIndex < s.Applied || s.LastIndex < s.CommitIndex {
				t.Errorf("%s: %+v, applied %d", n.name, s, status.Applied)
			}
			if i > 0 && (s.LastContact < 0 || s.LastContact > heartbeat) || i == 0 && s.LastContact != 0 {
				t.Errorf("%s: heard of the leader %v ago", n.name, s.LastContact)
			}
		}
		lonely := w.start("s9", 1, "")
		if s := lonely.register.Stats(); s != (Stats{State: [4]int{idle: 1}}) {
			t.Errorf("without a log: %+v", s)
		}
		all[0].must(cluster.Order{Kind: cluster.OrderAddLearner, Voter: lonely.name})
		w.until("a learner is counted", func() bool { return all[1].register.Stats().Learners == 1 })
	})
}
