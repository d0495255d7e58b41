package node_test

import (
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// Each reason for which a node is not ready, and nothing but it. (TestTwoInstances has other_instance.)
func TestReady(t *testing.T) {
	for _, reason := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"nothing", func(t *testing.T, w *world) {
			w.five()
			for _, id := range w.living() {
				w.readyBut(id)
			}
		}},
		{admin.ReasonWaitingForShards, func(t *testing.T, w *world) {
			w.shard("s1", 3, shard.Config{})
			w.shard("s2", 3, shard.Config{})
			w.router("r1", router.Config{})
			time.Sleep(20 * time.Second)
			for _, id := range []string{"s1", "s2", "r1"} {
				w.readyBut(id, admin.ReasonWaitingForShards)
			}
			w.shard("s3", 3, shard.Config{})
			w.agree(3 * time.Second)
			for _, id := range w.living() {
				w.readyBut(id)
			}
		}},
		{admin.ReasonNoTable, func(t *testing.T, w *world) {
			// What a voter had on disk is no Table before a majority says that it is committed.
			dirs := map[string]string{"s1": t.TempDir(), "s2": t.TempDir(), "s3": t.TempDir()}
			w.config = func(c *node.Config) { c.DataDir = dirs[string(c.ID)] }
			w.cluster(3, 0)
			w.agree(10 * time.Second)
			instance := w.running["s1"].Stance().Founding.Instance
			w.kill("s1", "s2", "s3")
			w.running["s1"].again()
			time.Sleep(10 * time.Second)
			w.readyBut("s1", admin.ReasonNoTable, admin.ReasonNoMajority)
			w.running["s2"].again()
			w.agree(10*time.Second, "s1", "s2")
			if now := w.running["s1"].Stance().Founding.Instance; now != instance {
				t.Errorf("it was %v and is %v", instance, now)
			}
		}},
		{admin.ReasonVoters, func(t *testing.T, w *world) {
			all, _, other := w.five()
			rest := without(all, other)
			w.cross([]string{other}, rest, w.net.Cut) // and gossip still takes it for alive
			time.Sleep(3 * time.Second)
			for _, id := range rest {
				if id[0] == 's' {
					w.readyBut(id, admin.ReasonVoters)
				} else {
					w.readyBut(id)
				}
			}
			w.cross([]string{other}, rest, w.net.Heal)
			w.agree(5 * time.Second)
			for _, id := range all {
				w.readyBut(id)
			}
		}},
		{admin.ReasonOwnerless, func(t *testing.T, w *world) {
			w.cluster(3, 2)
			w.agree(10 * time.Second)
			gone, rest := []string{"s2", "s3"}, []string{"s1", "r1", "r2"}
			w.split(gone, rest) // both copies of some rooms, and neither is proved dead
			time.Sleep(30 * time.Second)
			w.readyBut("s1", admin.ReasonOwnerless)
			w.readyBut("r1") // it serves the other rooms
			w.unsplit(gone, rest)
			w.agree(10 * time.Second)
			w.readyBut("s1")
		}},
		{admin.ReasonNoMajority, func(t *testing.T, w *world) {
			w.cluster(2, 1)
			w.agree(10 * time.Second)
			w.kill("s1", "s2")
			time.Sleep(3 * time.Second)
			w.readyBut("r1", admin.ReasonNoMajority, admin.ReasonNoLinks)
			w.running["s1"].again()
			time.Sleep(10 * time.Second)
			w.readyBut("r1", admin.ReasonNoMajority) // a shard to talk to, and no second vote
			if r := w.reasons("s1"); !slices.Contains(r, admin.ReasonNoMajority) {
				t.Errorf("s1 is not ready because of %v", r)
			}
		}},
		{admin.ReasonNoLinks, func(t *testing.T, w *world) {
			w.cluster(3, 3)
			w.agree(10 * time.Second)
			shards := []string{"s1", "s2", "s3"}
			w.cross([]string{"r3"}, shards, w.net.Cut)
			time.Sleep(5 * time.Second)
			if r := w.reasons("r3"); !slices.Contains(r, admin.ReasonNoLinks) {
				t.Errorf("r3 is not ready because of %v", r)
			}
			w.cross([]string{"r3"}, shards, w.net.Heal)
			w.waitFor("r3 is ready", 3*time.Second, func() bool { return len(w.reasons("r3")) == 0 })
		}},
		{admin.ReasonDraining, func(t *testing.T, w *world) {
			w.cluster(3, 0)
			w.router("r1", router.Config{DrainTime: 20 * time.Second})
			w.agree(10 * time.Second)
			for range 10 {
				w.join("r1", "room=a")
			}
			r1 := w.running["r1"]
			close(r1.drain)
			time.Sleep(5 * time.Second)
			w.readyBut("r1", admin.ReasonDraining)
			for _, id := range []string{"s1", "s2", "s3"} {
				w.readyBut(id)
			}
			<-r1.ended
		}},
	} {
		t.Run(reason.name, func(t *testing.T) { inWorld(t, reason.test) })
	}
}

// readyBut checks why a node is not ready; without reasons it must be.
func (w *world) readyBut(id string, reasons ...string) {
	w.t.Helper()
	if got := w.reasons(id); !slices.Equal(got, reasons) {
		w.t.Errorf("%s is not ready because of %v, want %v", id, got, reasons)
	}
}
