package register

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

func TestOneFoundsAndOthersJoin(t *testing.T) {
	for _, count := range []int{1, 3, 5} {
		bubble(t, func(w *world) {
			all := w.voters(count)
			all[0].must(all[0].change(3))
			w.settled()
			for _, n := range all {
				s := n.register.Status()
				if !n.has(3) || s.Leader != all[0].name || s.Founding != founding(0) || len(s.Table.Voters) != count || len(s.Servers) != count {
					t.Errorf("%s of %d: %s, voters %v", n.name, count, n, s.Table.Voters)
				}
			}
			if term := all[0].register.Status().Term; term == 0 {
				t.Error("the leader has no term")
			}
		})
	}
}

func TestTableIsTheSameEverywhere(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		for p := range proto.Partition(20) {
			all[0].must(all[0].change(p))
		}
		w.settled()
		want := cluster.AppendTable(nil, all[0].register.Status().Table)
		for _, n := range all[1:] {
			if got := cluster.AppendTable(nil, n.register.Status().Table); !slices.Equal(got, want) {
				t.Errorf("%s holds another table", n.name)
			}
		}
	})
}

func TestNextLeaderKnowsAll(t *testing.T) {
	for _, count := range []int{3, 5} {
		bubble(t, func(w *world) {
			all := w.voters(count)
			for p := range proto.Partition(8) {
				all[0].must(all[0].change(p))
			}
			old := all[0].register.Status().Term
			for _, n := range all[1:] { // an election is won some time before it is known what was committed
				for _, o := range all[1:] {
					w.mem.Delay(n.ip, o.ip, 20*time.Millisecond)
				}
			}
			all[0].kill()
			next := w.leader()
			if s := next.register.Status(); s.Term <= old {
				t.Errorf("term %d after %d", s.Term, old)
			}
			for p := range proto.Partition(8) { // at the very moment in which it says that it leads
				if !next.has(p) {
					t.Errorf("the next leader does not know change %d", p)
				}
			}
			next.must(next.change(9))
			w.settled()
		})
	}
}

// A proof of the leader's death makes the next one come sooner.
func TestQuickenElectsSooner(t *testing.T) {
	election := func(quick bool) (took time.Duration) {
		bubble(t, func(w *world) {
			all := w.voters(5)
			all[0].kill()
			began := time.Now()
			if quick {
				for _, n := range all[1:] {
					n.must(cluster.Order{Kind: cluster.OrderQuicken})
				}
			}
			w.leader()
			took = time.Since(began)
			w.settled()
			for _, n := range all[1:] {
				w.until("calm", func() bool {
					return n.register.now().life.raft.ReloadableConfig().HeartbeatTimeout == heartbeat
				})
			}
		})
		return took
	}
	var slow, fast time.Duration
	for range 10 {
		slow += election(false)
		fast += election(true)
	}
	t.Logf("on average %v, quickened %v", slow/10, fast/10)
	if fast/10 > stagger {
		t.Errorf("quickened elections took %v", fast/10)
	}
}

func TestQuickenEndsWithoutALeader(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		all[0].kill()
		all[1].kill()
		all[2].must(cluster.Order{Kind: cluster.OrderQuicken})
		pace := func() time.Duration { return all[2].register.now().life.raft.ReloadableConfig().HeartbeatTimeout }
		time.Sleep(5 * stagger)
		if pace() != quick {
			t.Errorf("heartbeat timeout %v", pace())
		}
		time.Sleep(quickFor + time.Second)
		if pace() != heartbeat {
			t.Errorf("heartbeat timeout %v after %v", pace(), quickFor+time.Second)
		}
	})
}

func TestTransfer(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		all[0].must(cluster.Order{Kind: cluster.OrderTransfer, Voter: all[2].name})
		if all[0].register.Status().Term != 0 {
			t.Error("the old leader leads still")
		}
		w.until("transfer to s3", func() bool { return all[2].register.Status().Term != 0 })
		all[2].must(cluster.Order{Kind: cluster.OrderTransfer})
		w.settled()
		if all[2].register.Status().Term != 0 {
			t.Error("the lead stayed")
		}
	})
}

// Who was taken out takes no part, and may come back with the log that it has.
func TestRemoveAndAddAgain(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		out := all[2]
		all[0].must(cluster.Order{Kind: cluster.OrderRemove, Voter: out.name})
		// Raft tells it with a last append, if another one is not just under way. That nobody leads it
		// any more it always notices.
		w.until("end of the lead over s3", func() bool { return out.register.Status().Leader == "" })
		all[0].must(all[0].change(1))
		time.Sleep(5 * time.Second)
		if s := all[0].register.Status(); s.Term == 0 || len(s.Servers) != 2 || slices.Contains(s.Table.Voters, out.name) {
			t.Errorf("after the removal: %s", all[0])
		}
		if out.has(1) {
			t.Error("it learns still")
		}
		w.join(out)
		w.settled()
		if !out.has(1) || len(out.register.Status().Servers) != 3 {
			t.Errorf("after it came back: %s", out)
		}
	})
}

// TestServersThatLeaveCostNothing: servers come and go, under new names each time, and what they were
// linked with does not stay.
func TestServersThatLeaveCostNothing(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		most := 0
		for run := range 8 {
			guest := w.start("s9", 100+run, "")
			w.join(guest)
			all[0].must(all[0].change(proto.Partition(run)))
			all[0].must(cluster.Order{Kind: cluster.OrderRemove, Voter: guest.name})
			guest.kill()
			w.settled()
			time.Sleep(6 * pruneApart)
			open := 0
			for _, n := range all {
				open += n.streams()
			}
			if run == 1 {
				most = open
			} else if run > 1 && open > most {
				t.Fatalf("%d streams are open after %d guests, %d after two", open, run+1, most)
			}
		}
	})
}

func TestLeaderRemovesItself(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		all[0].must(cluster.Order{Kind: cluster.OrderRemove, Voter: all[0].name})
		w.until("other leader", func() bool {
			return all[0].register.Status().Term == 0 && all[1].register.Status().Term+all[2].register.Status().Term != 0
		})
		leader := w.leader()
		leader.must(leader.change(1))
		if s := leader.register.Status(); len(s.Servers) != 2 || len(s.Table.Voters) != 2 {
			t.Errorf("servers %v, voters %v", s.Servers, s.Table.Voters)
		}
	})
}

// A voter that comes late gets a snapshot in place of a log that is gone.
func TestSnapshotForALearner(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		for i := range 2*snapshotAfter + trailing {
			all[0].must(all[0].change(proto.Partition(i % rows)))
		}
		time.Sleep(3 * snapshotEvery)
		life := all[0].register.now().life
		if stats := life.raft.Stats(); stats["last_snapshot_index"] == "0" {
			t.Fatal("no snapshot was taken")
		}
		if s := all[0].register.Stats(); s.Snapshots == 0 {
			t.Errorf("no snapshot is counted: %+v", s)
		}
		first, err := all[0].register.home.store.logs.FirstIndex()
		if err != nil || first == 1 {
			t.Fatalf("the log begins at %d, %v", first, err)
		}
		late := w.start("s4", 1, "")
		w.join(late)
		w.settled()
		for p := range proto.Partition(rows) {
			if !late.has(p) {
				t.Fatalf("the newcomer lacks %d", p)
			}
		}
		if s := late.register.Stats(); s.Restores != 1 {
			t.Errorf("%d restores are counted", s.Restores)
		}
		all[0].must(cluster.Order{Kind: cluster.OrderTransfer, Voter: late.name})
		w.until("newcomer that leads", func() bool { return late.register.Status().Term != 0 })
		late.must(late.change(1))
		w.settled()
	})
}

func TestResetForgets(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		out := all[2]
		out.must(cluster.Order{Kind: cluster.OrderReset})
		if s := out.register.Status(); s.Founding != (proto.Founding{}) || s.Table != nil || s.Applied != 0 || len(s.Servers) != 0 {
			t.Errorf("after the reset: %+v", s)
		}
		// The leader dials the voter that it was, which must not come back empty under its name.
		time.Sleep(5 * time.Second)
		if s := out.register.Status(); s.Founding != (proto.Founding{}) {
			t.Errorf("it is in founding %v again", s.Founding)
		}
		all[0].must(all[0].change(1))
	})
}

// A generation that was founded anew takes others over, and streams of the old one are refused.
func TestFoundingAnew(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		all[0].must(all[0].change(5))
		w.settled()
		all[1].kill()
		all[2].found(founding(1))
		if all[2].has(5) {
			t.Error("the new founding has rows of the old one")
		}
		all[0].must(cluster.Order{Kind: cluster.OrderReset})
		w.join(all[0])
		w.settled()
		for _, n := range []*node{all[0], all[2]} {
			if s := n.register.Status(); s.Founding != founding(1) || s.Table.Version>>32 != 1 || len(s.Servers) != 2 {
				t.Errorf("%s: founding %v, %s", n.name, s.Founding, n)
			}
		}
	})
}

func TestStreamOfAnotherFoundingIsClosed(t *testing.T) {
	bubble(t, func(w *world) {
		a, b := w.start("s1", 1, ""), w.start("s2", 1, "")
		w.trusting.Store(true) // let Accept judge
		a.found(founding(0))
		b.found(founding(1))
		c, err := a.Dial(context.Background(), b.name, founding(0))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the stream stayed open")
		}
	})
}

func TestOrdersOfWhoDoesNotLead(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		for kind := cluster.OrderPropose; kind <= cluster.OrderTransfer; kind++ {
			o := all[1].changeIn(all[0].register.Status().Term, 1)
			o.Kind, o.Voter = kind, all[2].name
			if err := all[1].do(o); !errors.Is(err, cluster.ErrNotLeading) {
				t.Errorf("order %d: %v", kind, err)
			}
		}
		fresh := w.start("s4", 1, "")
		for kind := cluster.OrderPropose; kind <= cluster.OrderQuicken; kind++ {
			if err := fresh.do(cluster.Order{Kind: kind, Command: &cluster.Command{Term: 1}}); !errors.Is(err, cluster.ErrNotLeading) {
				t.Errorf("order %d without a founding: %v", kind, err)
			}
		}
		all[2].kill()
		if err := all[2].do(cluster.Order{Kind: cluster.OrderReset}); !errors.Is(err, cluster.ErrNotLeading) {
			t.Errorf("order after the end: %v", err)
		}
	})
}

// What does not fit is refused, and changes nothing anywhere.
func TestRefusedChange(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		late := all[0].change(1)
		all[0].must(all[0].change(1))
		version := all[0].register.Status().Table.Version
		if err := all[0].do(late); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("a change of a term that is gone: %v", err)
		}
		w.settled()
		if v := all[1].register.Status().Table.Version; v != version {
			t.Errorf("version %d after %d", v, version)
		}
	})
}

// An entry that cannot be read is refused by all alike.
func TestUnreadableEntry(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		f := all[0].register.now().life.raft.Apply([]byte("from the future"), time.Second)
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		if err, ok := f.Response().(error); !ok || !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("response %v", f.Response())
		}
		all[0].must(all[0].change(1))
		w.settled()
	})
}

// Every order has one end, also those that are under way when everything stops.
func TestOrdersEndWithTheRegister(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.voters(3)
		w.isolate(all[0], true)
		ends := make(chan error, 2*maxOrders)
		for range 2 * maxOrders {
			all[0].register.Do(all[0].change(1), func(err error) { ends <- err })
		}
		all[0].kill()
		busy := 0
		for range 2 * maxOrders {
			if err := <-ends; err == nil {
				t.Error("a change without a majority succeeded")
			} else if errors.Is(err, errBusy) {
				busy++
			}
		}
		if busy < maxOrders || len(ends) != 0 {
			t.Errorf("%d orders were too many, want at least %d", busy, maxOrders)
		}
	})
}
