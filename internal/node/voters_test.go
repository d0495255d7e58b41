package node_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// The leader's death costs the rooms that it owned their history, and the others nothing.
func TestLeaderKilled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, leader, _ := w.five()
		w.keepArchive()
		c := w.sing(6, "r1", "r2")
		time.Sleep(time.Second)
		owners, gone := c.owners("r1"), w.running[leader].Name()
		began := time.Now()
		c.flows(func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.kill(leader)
			}()
			took := w.waitFor("new owners", 3*time.Second, func() bool { return w.owns("r1", gone) == 0 })
			t.Logf("new owners after %v", took)
			<-done
			time.Sleep(3 * time.Second)
		}, func(room, _ string) bool { return owners[room] != leader })
		w.agree(0)
		took(t, "all", began, time.Now(), 0, 10*time.Second)
		c.whole(func(room string) bool { return owners[room] == leader })
	})
}

// A leader that is told to go hands over its lead first, so nobody is without one.
func TestLeaderDrained(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.config = func(c *node.Config) { c.MaxMoves = 0 }
		_, leader, _ := w.five()
		w.keepArchive()
		c := w.sing(6, "r1", "r2")
		time.Sleep(time.Second)
		r := w.running[leader]
		c.flows(func() {
			began := time.Now()
			close(r.drain)
			<-r.ended
			took(t, "run returned", began, time.Now(), 0, 2*time.Second)
			if !r.Stance().Relieved {
				t.Error("it left while the register counted on it")
			}
			for _, id := range w.living() {
				w.readyBut(id)
			}
			time.Sleep(time.Second)
		}, func(string, string) bool { return true })
		w.agree(0)
		c.whole(never)
	})
}

// Any two of five may go at once: the Table changes within 3 s all the same, and every room serves.
func TestTwoOfFiveKilled(t *testing.T) {
	ids := []string{"s1", "s2", "s3", "r1", "r2"}
	for i, a := range ids {
		for _, b := range ids[i+1:] {
			t.Run(a+" and "+b, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					all, _, _ := w.five()
					w.keepArchive()
					left := without(all, a, b)
					c := w.sing(4, "r1", "r2")
					time.Sleep(time.Second)
					owners, before := c.owners("s1"), w.running[left[0]].Table().Version
					dead := func(id string) bool { return id == a || id == b }
					done := make(chan struct{})
					go func() {
						defer close(done)
						w.kill(a, b)
					}()
					took := w.waitFor("the Table changes", 3*time.Second, func() bool {
						n := w.running[left[0]]
						return n.Table().Version > before && w.owns(left[0], w.running[a].Name())+w.owns(left[0], w.running[b].Name()) == 0
					})
					t.Logf("owners that live after %v", took)
					<-done
					t.Logf("three voters %v later", w.agree(5*time.Second))
					c.flows(func() { time.Sleep(2 * time.Second) }, func(_, router string) bool { return !dead(router) })
					var gone []string
					for _, r := range []string{"r1", "r2"} {
						if dead(r) {
							gone = append(gone, r)
						}
					}
					if len(gone) == 2 {
						c.stop(gone...)
						return
					}
					c.whole(func(room string) bool { return dead(owners[room]) }, gone...)
				})
			})
		}
	}
}

// The register has as many voters as the cluster's size asks for, on the way down as on the way up,
// whether nodes are killed or leave; and the cluster serves all the while.
func TestVotersFollowTheCluster(t *testing.T) {
	for _, way := range []string{"killed", "drained"} {
		t.Run(way, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.config = func(c *node.Config) { c.MaxMoves = 0 }
				w.five()
				w.keepArchive()
				c := w.sing(3, "r1")
				voters := func(n int) {
					t.Helper()
					w.agree(5 * time.Second)
					if got := len(w.running["r1"].Table().Voters); got != n {
						t.Errorf("%d voters, want %d", got, n)
					}
					time.Sleep(time.Second)
					c.flows(func() { time.Sleep(time.Second) }, func(string, string) bool { return true })
				}
				remove := func(id string) {
					if way == "killed" {
						w.kill(id)
						return
					}
					close(w.running[id].drain)
					<-w.running[id].ended
					if !w.running[id].Stance().Relieved {
						t.Errorf("%s left while the register counted on it", id)
					}
				}
				voters(5)
				remove("r2")
				voters(3)
				remove("s1")
				voters(3)
				remove("s2")
				voters(1)
				for i, want := range []int{3, 3, 5, 5} {
					if i < 2 {
						w.running[fmt.Sprint("s", i+1)].again()
					} else {
						w.router(fmt.Sprint("r", i), router.Config{})
					}
					voters(want)
				}
				if way == "killed" {
					w.shard("s4", 3, shard.Config{}) // one more shard takes a router's vote
				}
				time.Sleep(time.Second)
				c.stop()
				var shards int
				for _, v := range w.running["r1"].Table().Voters {
					if v[0] == 's' {
						shards++
					}
				}
				if want := map[string]int{"killed": 4, "drained": 3}[way]; shards != want {
					t.Errorf("%d of the voters are shards, want %d", shards, want)
				}
			})
		})
	}
}

// A node that is killed and comes back at its own address before anybody has called it dead is proved
// dead by itself: no time is lost.
func TestQuickRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, _, other := w.five()
		w.keepArchive()
		c := w.sing(4, "r1", "r2")
		time.Sleep(time.Second)
		owners, was := c.owners("r1"), w.running[other]
		was.killed.Store(true)
		w.others(was, func(ip string) { w.net.Cut(ip, was.ip); w.net.Cut(was.ip, ip); w.net.Break(ip, was.ip) })
		was.stop()
		<-was.ended
		next := was.again()
		w.heal(other)
		w.waitFor("its partitions have owners", 1500*time.Millisecond, func() bool { return w.owns("r1", was.Name()) == 0 })
		time.Sleep(2 * time.Second)
		w.directory.Set(was.Name(), cluster.Dead)
		w.agree(5 * time.Second)
		if slices.Contains(w.running["r1"].Table().Voters, was.Name()) {
			t.Error("its former self still votes")
		}
		if next.Name() == was.Name() {
			t.Error("it has the same name")
		}
		c.whole(func(room string) bool { return owners[room] == other })
	})
}
