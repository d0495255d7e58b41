package register

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// What a leader proposes when it is cut off is in every copy afterwards or in none; and what it was
// told holds: done is done, and what certainly did not happen did not.
func TestLateProposals(t *testing.T) {
	unknown := 0
	for seed := range uint64(60) {
		bubble(t, func(w *world) {
			r := rand.New(rand.NewPCG(seed, 2))
			all := w.voters(3)
			leader := all[0]
			if r.IntN(2) == 0 {
				for _, n := range all[1:] { // entries may get out, answers do not come in
					w.mem.Cut(n.ip, leader.ip)
				}
			} else {
				w.isolate(leader, true)
			}
			type fate struct {
				p   proto.Partition
				err error
			}
			fates := make(chan fate, rows)
			count := 1 + r.IntN(10)
			for p := range proto.Partition(count) {
				leader.register.Do(leader.change(p), func(err error) { fates <- fate{p, err} })
				time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
			}
			time.Sleep(time.Duration(r.IntN(2500)) * time.Millisecond)
			w.isolate(leader, false)
			w.settled()
			next := w.leader()
			next.must(next.change(rows - 1))
			w.settled()
			for range count {
				f := <-fates
				in := all[0].has(f.p)
				for _, n := range all[1:] {
					if n.has(f.p) != in {
						t.Errorf("seed %d: change %d is in one copy and not in another", seed, f.p)
					}
				}
				certain := errors.Is(f.err, cluster.ErrNotLeading) || errors.Is(f.err, cluster.ErrRefused)
				switch {
				case f.err == nil && !in:
					t.Errorf("seed %d: change %d was done and is gone", seed, f.p)
				case certain && in:
					t.Errorf("seed %d: change %d did not happen (%v), but is there", seed, f.p, f.err)
				case f.err != nil && !certain:
					unknown++
				}
			}
		})
	}
	if unknown == 0 {
		t.Error("no proposal had an unknown fate: nothing was shown")
	}
}

// A Command that was decided in one term and appended in another is refused, by Do and by the log.
func TestCommandOfAnotherTerm(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		old := all[0].change(1)
		all[0].must(cluster.Order{Kind: cluster.OrderTransfer, Voter: all[1].name})
		w.until("transfer to s2", func() bool { return all[1].register.Status().Term != 0 })
		all[1].must(cluster.Order{Kind: cluster.OrderTransfer, Voter: all[0].name})
		w.until("transfer to s1", func() bool { return all[0].register.Status().Term != 0 })
		if err := all[0].do(old); !errors.Is(err, cluster.ErrNotLeading) {
			t.Errorf("order of another term: %v", err)
		}
		f := all[0].register.now().life.raft.Apply(cluster.AppendCommand(nil, old.Command), time.Second)
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		if err, ok := f.Response().(error); !ok || !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("entry of another term: %v", f.Response())
		}
		w.settled()
		if all[2].has(1) {
			t.Error("the change was made")
		}
	})
}

// Term is 0 from the moment in which the lead is lost, and never two nodes' at once in one raft term.
func TestTermOfACutOffLeader(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		w.isolate(all[0], true)
		time.Sleep(2*lease + heartbeat/10)
		if s := all[0].register.Status(); s.Term != 0 || s.Leader != "" {
			t.Errorf("a leader without a majority: term %d, leader %q", s.Term, s.Leader)
		}
		next := w.leader()
		w.isolate(all[0], false)
		w.settled()
		if next.register.Status().Term == 0 {
			t.Error("the one that came back took the lead away")
		}
	})
}
