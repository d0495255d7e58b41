package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

// riftWithin bounds how long partitions may have one copy when two shards do not reach each other: silence is
// noticed, the owner gives the follower up, the coordinator believes that the two are apart, the next one learns.
const riftWithin = 7 * time.Second

// TestRift: two shards do not reach each other, in one direction or in both, and all others reach both. Every
// partition has two copies again soon, at shards that do; then nothing moves any more as long as that lasts;
// and when it is over, copies go back to where they were.
func TestRift(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		oneWay, zones := seed%2 == 0, 1+int(seed/2)%2
		t.Run(fmt.Sprintf("seed %d, one-way %v, zones %d", seed, oneWay, zones), func(t *testing.T) {
			t.Parallel()
			w := &World{Timeline: timeline.New(seed, 0x72696674, nil), opt: Options{Seed: seed, Directed: DirectedFence}, byName: map[proto.NodeName]*node{}}
			w.ledger, w.circle = newLedger(w), w.newCircle()
			if err := w.Play(func() { w.playRift(t, oneWay, zones) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// playRift is the course of such a run. Who keeps what promise is checked all the while.
func (w *World) playRift(t *testing.T, oneWay bool, zones int) {
	w.shape = drawShape(w)
	w.shape.shards, w.shape.zones, w.shape.partitions, w.shape.maxMoves = 4, zones, 24, 4
	w.shape.clients, w.shape.talk, w.shape.tight = 3, 200*time.Millisecond, true // it lasts so long that rooms are trimmed
	w.build()
	w.settle(foundingTime, 2*time.Second, w.unfounded)
	for i := range w.shape.clients {
		w.startClient(i)
	}
	w.end = w.Now + time.Hour // clients talk on
	a, b := w.outsiders()
	before := w.table()

	w.cut(a.host, b.host, time.Hour)
	if !oneWay {
		w.cut(b.host, a.host, time.Hour)
	}
	cutAt := w.Now
	w.until(riftWithin, "a partition lost its copy", func() bool { return single(w.table()) > 0 })
	w.until(riftWithin-(w.Now-cutAt), "all have two copies again", func() bool { return single(w.table()) == 0 && len(w.table().Moves) == 0 })
	t.Logf("two copies of all %v after the cut", w.Now-cutAt)

	w.Run(w.Now + 2*time.Second)
	calm := w.table().Mark()
	w.Run(w.Now + 20*time.Second)
	if mark := w.table().Mark(); mark != calm {
		w.Fail("while the two are apart, the Table goes from %v to %v", calm, mark)
	}
	w.clear(a.host, b.host)
	w.clear(b.host, a.host)
	healedAt := w.Now
	w.until(30*time.Second, "copies are where they were", func() bool { return same(before, w.table()) && len(w.table().Moves) == 0 })
	t.Logf("all as before %v after the healing", w.Now-healedAt)
	w.end = w.Now
	w.heal()
	w.Run(w.Now + chatter)
	w.settle(settlingTime, w.shape.resting, w.unsettled)
}

// outsiders are two shards neither of which leads, and one of which follows the other somewhere.
func (w *World) outsiders() (a, b *node) {
	leader := w.leader()
	for p := range proto.Partition(w.shape.partitions) {
		owner, followers := w.keepers(p)
		if owner != leader && len(followers) == 1 && followers[0] != leader {
			return owner, followers[0]
		}
	}
	w.Fail("the leader has to do with everything")
	return nil, nil
}

// table is the newest that was committed.
func (w *World) table() *cluster.Table { return w.registers[len(w.registers)-1].last().table }

// until lets time pass until something is so.
func (w *World) until(within time.Duration, what string, so func() bool) {
	for end := w.Now + within; !so(); {
		if w.Now >= end {
			w.Fail("not within %v: %s", within, what)
		}
		w.Run(w.Now + 10*time.Millisecond)
	}
}

// single is how many partitions have no follower.
func single(t *cluster.Table) (n int) {
	for _, row := range t.Rows() {
		if len(row.Followers) == 0 {
			n++
		}
	}
	return n
}

// same reports whether two Tables have the same copies.
func same(a, b *cluster.Table) bool {
	for p, row := range a.Rows() {
		o := b.Row(proto.Partition(p))
		if !row.Equal(plan.Row{Owner: o.Owner, Followers: o.Followers, Term: row.Term, Since: row.Since}) {
			return false
		}
	}
	return true
}
