package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard"
)

// told are the events of the feed that a stream has had, from the one after seq on.
func (s *stream) told(seq uint64) (events []admin.FeedEvent) {
	data, _ := s.of(admin.EventFeed)
	for _, d := range data {
		if e := d.(admin.FeedEvent); e.Seq > seq {
			events = append(events, e)
		}
	}
	return events
}

// partitionsOf adds up the partitions of a kind of events, from and to anybody for "".
func partitionsOf(events []admin.FeedEvent, kind string, from, to proto.NodeID) (n int) {
	for _, e := range events {
		if e.Kind == kind && (from == "" || e.From == from) && (to == "" || e.To == to) {
			n += e.Partitions
		}
	}
	return n
}

// find returns the first event of a kind that is about a node; of nobody in particular for "".
func find(events []admin.FeedEvent, kind string, node proto.NodeID) *admin.FeedEvent {
	i := slices.IndexFunc(events, func(e admin.FeedEvent) bool { return e.Kind == kind && (node == "" || e.Node == node) })
	if i < 0 {
		return &admin.FeedEvent{}
	}
	return &events[i]
}

// feeds opens a stream of the feed at every living node.
func (w *world) feeds() map[string]*stream {
	all := map[string]*stream{}
	for _, id := range w.living() {
		all[id] = w.watch(id, true)
	}
	return all
}

// Every node tells of a fail-over: whose, to whom, how much, and why; and that things are well again.
func TestFeedOfAFailOver(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		time.Sleep(5 * time.Second)
		feeds := w.feeds()
		time.Sleep(time.Second)
		seen := map[string]uint64{}
		for id, s := range feeds {
			events := s.told(0)
			if last := events[len(events)-1]; last.Kind != admin.FeedSettled {
				t.Errorf("the last that %s told is %+v", id, last)
			}
			seen[id] = events[len(events)-1].Seq
			for _, node := range w.living() {
				if find(events, admin.FeedJoin, proto.NodeID(node)).Seq == 0 {
					t.Errorf("%s did not see %s join", id, node)
				}
			}
			if find(events, admin.FeedLeader, "").Seq == 0 {
				t.Errorf("%s told of no leader", id)
			}
		}
		owned, copies := w.owns("r1", w.running["s2"].Name()), 0
		for _, row := range w.running["r1"].Table().Rows() {
			if row.Owner == w.running["s2"].Name() || slices.Contains(row.Followers, w.running["s2"].Name()) {
				copies++
			}
		}
		w.kill("s2")
		w.settle(20 * time.Second)
		time.Sleep(3 * time.Second)
		for _, id := range []string{"s1", "s3", "r1", "r2"} {
			events := feeds[id].told(seen[id])
			for i, e := range events {
				if e.Seq != seen[id]+uint64(i)+1 {
					t.Errorf("%s told %d after %d", id, e.Seq, seen[id]+uint64(i))
				}
			}
			if n := partitionsOf(events, admin.FeedFailover, "s2", ""); n != owned {
				t.Errorf("%s told of %d fail-overs, want %d: %+v", id, n, owned, events)
			}
			if n := partitionsOf(events, admin.FeedHandoff, "", "s2") + partitionsOf(events, admin.FeedReset, "", ""); n != 0 {
				t.Errorf("%s told of %d others", id, n)
			}
			if n := partitionsOf(events, admin.FeedSingle, "s2", ""); n != copies {
				t.Errorf("%s told of %d that had one copy left, want %d", id, n, copies)
			}
			if n := partitionsOf(events, admin.FeedCopy, "", ""); n < copies {
				t.Errorf("%s told of %d new copies, want %d or more", id, n, copies)
			}
			failover := find(events, admin.FeedFailover, "")
			if !strings.HasPrefix(failover.Reason, "s2 is lost: ") || strings.Contains(failover.Reason, "lives") {
				t.Errorf("%s gives as the reason %q", id, failover.Reason)
			}
			if death := find(events, admin.FeedDeath, "s2"); death.Seq == 0 || death.Reason == "" {
				t.Errorf("%s tells of the death: %+v", id, death)
			}
			unsettled, last := find(events, admin.FeedUnsettled, ""), events[len(events)-1]
			if unsettled.Seq == 0 || last.Kind != admin.FeedSettled || last.Seq < failover.Seq {
				t.Errorf("%s: unsettled %+v, last %+v", id, unsettled, last)
			}
		}
	})
}

// A drain and a join are hand-offs, each partition's once.
func TestFeedOfADrainAndAJoin(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		time.Sleep(5 * time.Second)
		feeds := w.feeds()
		time.Sleep(time.Second)
		seen := map[string]uint64{}
		for id, s := range feeds {
			events := s.told(0)
			seen[id] = events[len(events)-1].Seq
		}
		owned := w.owns("r1", w.running["s2"].Name())
		s2 := w.running["s2"]
		close(s2.drain)
		<-s2.ended
		w.settle(20 * time.Second)
		time.Sleep(2 * time.Second)
		for _, id := range w.living() {
			events := feeds[id].told(seen[id])
			seen[id] += uint64(len(events))
			if n := partitionsOf(events, admin.FeedHandoff, "s2", ""); n != owned || find(events, admin.FeedHandoff, "").Reason != "s2 drains" {
				t.Errorf("%s told of %d hand-offs, want %d: %+v", id, n, owned, events)
			}
			drain, left, handoff := find(events, admin.FeedDrain, "s2"), find(events, admin.FeedLeft, "s2"), find(events, admin.FeedHandoff, "")
			if drain.Seq == 0 || left.Seq == 0 || drain.Seq > handoff.Seq || handoff.Seq > left.Seq {
				t.Errorf("%s: drain %+v, hand-off %+v, left %+v", id, drain, handoff, left)
			}
			for _, kind := range []string{admin.FeedFailover, admin.FeedReset, admin.FeedDeath, admin.FeedSingle} {
				if find(events, kind, "").Seq != 0 {
					t.Errorf("%s told of %+v", id, find(events, kind, ""))
				}
			}
		}
		w.shard("s4", 3, shard.Config{})
		w.waitFor("s4 is on the ring", 10*time.Second, func() bool { return len(w.running["r1"].Ring().Shards()) == 3 })
		w.settle(30 * time.Second)
		time.Sleep(2 * time.Second)
		for id, s := range feeds {
			if id == "s2" {
				continue
			}
			events := s.told(seen[id])
			if n, want := partitionsOf(events, admin.FeedHandoff, "", "s4"), w.owns("r1", w.running["s4"].Name()); n != want {
				t.Errorf("%s told of %d hand-offs to s4, want %d", id, n, want)
			}
			if find(events, admin.FeedFailover, "").Seq != 0 || find(events, admin.FeedJoin, "s4").Seq == 0 {
				t.Errorf("%s told %+v", id, events)
			}
		}
	})
}

// Who reads slowly is told how many events it missed.
func TestFeedOfASlowReader(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		s, release := &stream{t: t}, make(chan struct{})
		first := true
		go w.running["r1"].Source().Watch(t.Context(), true, func(e admin.Event) error {
			if !first {
				<-release
			}
			first = false
			return s.take(e)
		})
		time.Sleep(time.Second)
		w.running["r1"].Happen(1200)
		time.Sleep(time.Second)
		close(release)
		time.Sleep(time.Second)
		lost, _ := s.of(admin.EventLost)
		events := s.told(0)
		if len(lost) != 1 || lost[0].(admin.LostEvent).Events == 0 {
			t.Fatalf("lost %v", lost)
		}
		last := events[len(events)-1].Seq
		if n := lost[0].(admin.LostEvent).Events; n+uint64(len(events)) != last {
			t.Errorf("%d lost and %d told of %d", n, len(events), last)
		}
	})
}
