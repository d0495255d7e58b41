package node_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// inCopies is a world of shards and two routers that keeps one follower of every partition, settled.
func inCopies(t *testing.T, shards int, f func(t *testing.T, w *world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.copies(shards)
		f(t, w)
	})
}

func (w *world) copies(shards int) {
	w.t.Helper()
	w.config = func(c *node.Config) { c.Followers, c.MaxMoves = 1, 0 }
	w.cluster(shards, 2)
	w.settle(20 * time.Second)
}

// settle waits until every partition has all its copies where they should be, as every node sees it.
func (w *world) settle(within time.Duration) time.Duration {
	w.t.Helper()
	return w.waitFor("settled", within, func() bool {
		for _, id := range w.living() {
			r := w.running[id]
			if !r.Settled() || r.SingleCopy() != 0 && len(w.livingShards()) > 1 || !w.placed(r.Table(), r.Ring()) {
				return false
			}
		}
		return true
	})
}

func (w *world) livingShards() (ids []string) {
	return slices.DeleteFunc(w.living(), func(id string) bool { return id[0] != 's' })
}

// placed reports whether every partition is owned by whom the ring wants.
func (w *world) placed(t *cluster.Table, r *cluster.Ring) bool {
	for p, row := range t.Rows() {
		if row.Owner != r.Wanted(proto.Partition(p)) {
			return false
		}
	}
	return true
}

// A shard that dies, whichever, takes no message along, and closes no socket.
func TestFailOver(t *testing.T) {
	for _, victim := range []string{"s1", "s2", "s3"} {
		t.Run(victim, func(t *testing.T) {
			inCopies(t, 3, func(t *testing.T, w *world) {
				tr := w.talk(8)
				time.Sleep(time.Second)
				w.kill(victim)
				took := w.waitFor("a new owner of everything", 10*time.Second, func() bool {
					return w.owns("r1", w.running[victim].Name()) == 0
				})
				t.Log("fail-over took, beside the second of the kill,", took)
				w.settle(20 * time.Second)
				w.running[victim].again()
				w.settle(30 * time.Second)
				tr.stop()
			})
		})
	}
}

// A shard that hears nobody, or whom nobody hears, is replaced; when it is back it takes its share again.
func TestSilentShard(t *testing.T) {
	for _, apart := range []struct {
		name string
		cut  func(w *world, ip string)
		heal func(w *world, ip string)
	}{
		{"both ways", func(w *world, ip string) { w.cut("s2") }, func(w *world, ip string) { w.heal("s2") }},
		{"nobody hears it", func(w *world, ip string) {
			w.others(w.running["s2"], func(other string) { w.net.Cut(ip, other) })
		}, func(w *world, ip string) { w.heal("s2") }},
		{"it hears nobody", func(w *world, ip string) {
			w.others(w.running["s2"], func(other string) { w.net.Cut(other, ip) })
		}, func(w *world, ip string) { w.heal("s2") }},
	} {
		for _, long := range []time.Duration{300 * time.Millisecond, 2 * time.Second, 20 * time.Second} {
			t.Run(fmt.Sprint(apart.name, " for ", long), func(t *testing.T) {
				inCopies(t, 3, func(t *testing.T, w *world) {
					tr := w.talk(6)
					time.Sleep(time.Second)
					ip := w.running["s2"].ip
					apart.cut(w, ip)
					time.Sleep(long)
					apart.heal(w, ip)
					w.settle(30 * time.Second)
					tr.stop()
				})
			})
		}
	}
}

// Two shards that do not hear each other, while the routers hear both: nothing is lost, and it goes on.
func TestShardFromShard(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		tr := w.talk(8)
		time.Sleep(time.Second)
		w.cross([]string{"s1"}, []string{"s2"}, w.net.Cut)
		time.Sleep(10 * time.Second)
		before := tr.heard()
		time.Sleep(2 * time.Second)
		for room, n := range tr.heard() {
			if n == before[room] {
				t.Errorf("room %d stands still", room)
			}
		}
		w.cross([]string{"s1"}, []string{"s2"}, w.net.Heal)
		w.settle(30 * time.Second)
		tr.stop()
	})
}

// heard is how many messages each room's first member has heard by now.
func (tr *traffic) heard() (counts []int) {
	for _, list := range tr.rooms {
		list[0].mu.Lock()
		counts = append(counts, len(list[0].heard))
		list[0].mu.Unlock()
	}
	return counts
}

// A shard that is told to go hands over all that it has, and ends without an error.
func TestDrainingShardHandsOver(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		tr := w.talk(8)
		time.Sleep(time.Second)
		began := time.Now()
		s := w.running["s2"]
		close(s.drain)
		<-s.ended
		t.Log("the drain took", time.Since(began))
		for p, row := range w.running["r1"].Table().Rows() {
			if row.Owner == s.Name() || slices.Contains(row.Followers, s.Name()) {
				t.Errorf("partition %d: %+v", p, row)
			}
		}
		w.settle(20 * time.Second)
		tr.stop()
	})
}

// A shard that comes takes its share, and each partition moves once, straight to where it should be.
func TestShardJoins(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		tr := w.talk(8)
		time.Sleep(time.Second)
		owners := w.watchOwners("r1")
		before := w.running["r1"].Table()
		w.shard("s4", 3, shard.Config{})
		w.waitFor("s4 is on the ring", 10*time.Second, func() bool { return len(w.running["r1"].Ring().Shards()) == 4 })
		w.settle(30 * time.Second)
		moved := 0
		for p, changes := range owners() {
			was, is := before.Row(proto.Partition(p)).Owner, w.running["r1"].Table().Row(proto.Partition(p)).Owner
			if want := 0; was == is && changes != want || was != is && changes != 1 {
				t.Errorf("partition %d went from %s to %s in %d changes", p, was, is, changes)
			}
			if was != is {
				moved++
			}
		}
		if moved == 0 {
			t.Error("nothing moved")
		}
		tr.stop()
	})
}

// watchOwners counts, per partition, how often the owner changes in the Tables that a node holds, until
// the result is called.
func (w *world) watchOwners(id string) func() []int {
	n := w.running[id]
	changed, stop := n.Watch()
	done, ended := make(chan struct{}), make(chan struct{})
	table := n.Table()
	counts := make([]int, table.Partitions())
	go func() {
		defer close(ended)
		for {
			select {
			case <-changed:
				now := n.Table()
				for p, row := range now.Rows() {
					if row.Owner != table.Row(p).Owner {
						counts[p]++
					}
				}
				table = now
			case <-done:
				return
			}
		}
	}()
	return func() []int {
		stop()
		close(done)
		<-ended
		return counts
	}
}

// Every shard is drained and started again, each when the one before is ready.
func TestRollingRestart(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		tr := w.talk(6)
		time.Sleep(time.Second)
		for _, id := range []string{"s1", "s2", "s3"} {
			s := w.running[id]
			close(s.drain)
			<-s.ended
			s.again()
			w.waitFor(id+" is ready", time.Minute, func() bool { return len(w.reasons(id)) == 0 })
		}
		w.settle(time.Minute)
		tr.stop()
	})
}

// A shard that came back is not ready before the copies that it could keep are made.
func TestNotReadyWithoutCopies(t *testing.T) {
	inCopies(t, 2, func(t *testing.T, w *world) {
		w.kill("s2")
		w.waitFor("s1 owns all", 10*time.Second, func() bool { return w.owns("r1", w.running["s1"].Name()) == partitions })
		s := w.running["s2"].again()
		seen := false
		w.waitFor("s2 is ready", time.Minute, func() bool {
			reasons := w.reasons("s2")
			seen = seen || slices.Contains(reasons, admin.ReasonCopies)
			return len(reasons) == 0
		})
		if !seen {
			t.Error("it was never unready for lack of copies")
		}
		for p, row := range s.Table().Rows() {
			if len(row.Followers) != 1 {
				t.Errorf("partition %d: %+v", p, row)
			}
		}
	})
}

// With all copies gone a room begins anew, and says so.
func TestEveryCopyLost(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		w.router("r3", router.Config{}) // or two dead shards would take the majority with them
		w.agree(10 * time.Second)
		m := w.join("r1", "room=a&num=1")
		m.say("before")
		epoch := epochOf(t, m.take()[0])
		doc := w.room("r1", "a")
		w.kill(string(doc.Owner), string(doc.Followers[0]))
		w.waitFor("the room is back", 10*time.Second, func() bool {
			status, _ := w.ask("r1", http.MethodGet, "/v1/room?room=a", "")
			return status == http.StatusOK
		})
		m.say("after")
		time.Sleep(time.Second)
		heard := m.take()
		if len(heard) != 2 || !strings.HasSuffix(heard[0], ".0 reset") || epochOf(t, heard[0]) == epoch || heard[1] != "1 after" {
			t.Errorf("heard %q after epoch %s", heard, epoch)
		}
		if now := w.room("r1", "a"); now.Epoch == epoch || now.Epoch != epochOf(t, heard[0]) {
			t.Errorf("the room's epoch is %s, members heard %q", now.Epoch, heard)
		}
	})
}

// With --min-copies 2 nothing is acknowledged by one shard alone, and nothing is lost for having waited.
func TestMinCopies(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.config = func(c *node.Config) { c.Followers, c.MaxMoves = 1, 0 }
		w.shard("s1", 2, shard.Config{MinCopies: 2})
		w.shard("s2", 2, shard.Config{MinCopies: 2})
		w.cluster(0, 2)
		w.settle(20 * time.Second)
		m := w.join("r1", "room=a&num=1")
		m.say("one")
		if heard := m.take(); len(heard) != 2 || heard[1] != "1 one" {
			t.Fatalf("heard %q", heard)
		}
		w.kill("s2")
		w.waitFor("s1 owns all", 10*time.Second, func() bool { return w.owns("r1", w.running["s1"].Name()) == partitions })
		m.say("two")
		time.Sleep(10 * time.Second)
		m.hears()
		w.running["s2"].again()
		w.settle(30 * time.Second)
		time.Sleep(2 * time.Second)
		m.hears("2 two")
	})
}

// A split: what has its copies on one side goes on there, and after the healing all do, without a loss.
func TestSplitWithCopies(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		w.agree(10 * time.Second)
		tr := w.talk(8)
		time.Sleep(time.Second)
		few, most := []string{"s1", "r1"}, []string{"s2", "s3", "r2"}
		w.split(few, most)
		time.Sleep(7 * time.Second) // what is said meanwhile is kept: history and the live window reach
		w.unsplit(few, most)
		w.settle(30 * time.Second)
		tr.stop()
	})
}

// A cluster that cannot make copies does not keep its shards unready for ever; and what leaves with such a
// shard is counted: its own rooms, not those that others have too.
func TestCopiesThatCannotBeMade(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		core, said := observer.New(zap.WarnLevel)
		w.log = []zap.Option{zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, core) })}
		w.config = func(c *node.Config) { c.Followers, c.MaxMoves, c.DrainTime = 1, -1, time.Second }
		w.cluster(2, 2)
		w.settle(20 * time.Second)
		for i := range 20 {
			w.join("r1", fmt.Sprint("room=", i)).say("x")
		}
		w.kill("s2")
		w.waitFor("s1 owns all", 10*time.Second, func() bool { return w.owns("r1", w.running["s1"].Name()) == partitions })
		w.running["s2"].again()
		w.agree(10 * time.Second)
		w.readyBut("s2", admin.ReasonCopies)
		time.Sleep(4*time.Minute + 30*time.Second)
		w.readyBut("s2", admin.ReasonCopies)
		time.Sleep(time.Minute)
		w.readyBut("s2")
		if n := said.FilterMessageSnippet("copies are still missing").Len(); n != 1 {
			t.Errorf("it was said %d times", n)
		}
		s := w.running["s1"]
		s.late = true
		close(s.drain)
		<-s.ended
		if s.err == nil || !strings.Contains(s.err.Error(), "still owns 32 partitions") {
			t.Errorf("run = %v", s.err)
		}
		if lost := said.FilterMessageSnippet("rooms are lost").FilterField(zap.Int("rooms", 20)); lost.Len() != 1 {
			t.Errorf("it said %v", said.FilterMessageSnippet("lost").All())
		}
	})
}
