package node_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/shard"
)

// traffic is members that talk in rooms while something happens to the nodes.
type traffic struct {
	t       *testing.T
	rooms   [][]*member    // everybody hears, the first two talk
	said    [][talkers]int // how many messages; each talker counts its own
	stopped chan struct{}
	talkers sync.WaitGroup
}

// talkers per room, one at each router.
const talkers = 2

// talk has members in rooms at r1 and r2, of which two say something every few
// milliseconds until stop.
func (w *world) talk(rooms int) *traffic {
	w.t.Helper()
	tr := &traffic{t: w.t, stopped: make(chan struct{})}
	for r := range rooms {
		var list []*member
		for i := range 4 {
			list = append(list, w.join(fmt.Sprint("r", i%2+1), fmt.Sprintf("room=t%d", r)))
		}
		tr.rooms = append(tr.rooms, list)
	}
	tr.said = make([][talkers]int, rooms)
	for i, list := range tr.rooms {
		for k := range talkers {
			tr.talkers.Go(func() { tr.speak(list[k], fmt.Sprintf("%d/%d/", i, k), &tr.said[i][k]) })
		}
	}
	return tr
}

func (tr *traffic) speak(m *member, prefix string, said *int) {
	every := time.NewTicker(17 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			m.Write(rfc6455.Frame(finText, fmt.Sprint(prefix, *said)))
			*said++
		case <-tr.stopped:
			return
		}
	}
}

// stop ends the talking, gives the cluster time, and checks that in every room
// all members heard all messages, once and in one order.
func (tr *traffic) stop() {
	tr.t.Helper()
	close(tr.stopped)
	tr.talkers.Wait()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	for r, list := range tr.rooms {
		first := list[0].take()
		checkOrder(tr.t, first, fmt.Sprint(r), tr.said[r][:]...)
		for i, m := range list {
			if !m.lives() {
				tr.t.Errorf("a socket of room %d was closed", r)
			}
			if i > 0 {
				if heard := m.take(); !slices.Equal(heard, first) {
					tr.t.Errorf("room %d: members disagree: %d and %d messages", r, len(heard), len(first))
				}
			}
		}
	}
}

// What the network does between two nodes loses nothing, doubles nothing and
// changes no order.
func TestNetworkFaults(t *testing.T) {
	cutFor := func(d time.Duration) func(w *world) {
		return func(w *world) {
			w.cut("s1")
			time.Sleep(d)
			w.heal("s1")
			time.Sleep(2 * time.Second)
		}
	}
	for _, fault := range []struct {
		name string
		do   func(w *world)
	}{
		{"nothing", func(*world) { time.Sleep(time.Second) }},
		{"cut for 200 ms", cutFor(200 * time.Millisecond)},
		{"cut for 2 s", cutFor(2 * time.Second)},
		{"cut for 20 s", cutFor(20 * time.Second)},
		{"cut one way", func(w *world) {
			for _, way := range [][2]string{{"10.0.0.1", "10.0.1.1"}, {"10.0.1.1", "10.0.0.1"}} {
				w.net.Cut(way[0], way[1])
				time.Sleep(4 * time.Second)
				w.net.Heal(way[0], way[1])
				time.Sleep(2 * time.Second)
			}
		}},
		{"resets", func(w *world) {
			for i := range 60 {
				w.net.Break(fmt.Sprintf("10.0.0.%d", i%3+1), fmt.Sprintf("10.0.1.%d", i%2+1))
				time.Sleep(37 * time.Millisecond)
			}
		}},
		{"resets on slow lines", func(w *world) {
			for s := range 3 {
				for r := range 2 {
					a, b := fmt.Sprintf("10.0.0.%d", s+1), fmt.Sprintf("10.0.1.%d", r+1)
					w.net.Delay(a, b, time.Duration(5+3*s)*time.Millisecond)
					w.net.Delay(b, a, time.Duration(9-2*s)*time.Millisecond)
				}
			}
			for i := range 20 {
				w.net.Break(fmt.Sprintf("10.0.0.%d", i%3+1), fmt.Sprintf("10.0.1.%d", i%2+1))
				time.Sleep(111 * time.Millisecond)
			}
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.cluster(3, 2)
				tr := w.talk(4)
				time.Sleep(time.Second)
				fault.do(w)
				tr.stop()
			})
		})
	}
}

// A shard that dies closes no socket. Its rooms come back with a new epoch and
// say so; what is published afterwards arrives once.
func TestShardKilled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(3, 2)
		const rooms = 12
		var at [rooms][2]*member
		var epochs [rooms]string
		var moved [rooms]bool
		for i := range rooms {
			query := fmt.Sprintf("room=%d&num=1", i)
			at[i] = [2]*member{w.join("r1", query), w.join("r2", query)}
			at[i][0].say("before")
			line := at[i][0].take()
			epochs[i] = epochOf(t, line[0])
			at[i][1].hears(line...)
		}
		victim := w.owner("0")
		for i := range rooms {
			moved[i] = w.owner(fmt.Sprint(i)) == victim
		}
		if n := strings.Count(fmt.Sprint(moved), "true"); n == rooms {
			t.Fatal("one shard owns all rooms")
		}
		w.kill(victim)
		for i := range rooms { // at once: nobody knows the new owner yet
			at[i][0].say("after")
		}
		time.Sleep(3 * time.Second)
		for i := range rooms {
			at[i][1].say("later")
			heard := at[i][0].take()
			at[i][1].hears(heard...)
			if !moved[i] {
				at[i][0].heard = heard
				at[i][0].hears("2 after", "3 later")
				continue
			}
			if len(heard) != 3 {
				t.Errorf("room %d: heard %q", i, heard)
				continue
			}
			fresh := epochOf(t, heard[0])
			if fresh == epochs[i] || heard[0] != "!"+fresh+".0 reset" || heard[1] != "1 after" || heard[2] != "2 later" {
				t.Errorf("room %d: heard %q after epoch %s", i, heard, epochs[i])
			}
			if !at[i][0].lives() || !at[i][1].lives() {
				t.Errorf("room %d: a socket was closed", i)
			}
		}
	})
}

// The same under load: what one member hears, all do, and what is said after
// the new owners are there arrives.
func TestShardKilledUnderLoad(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(3, 2)
		tr := w.talk(6)
		time.Sleep(time.Second)
		w.kill(w.owner("t0"))
		time.Sleep(2 * time.Second)
		close(tr.stopped)
		tr.talkers.Wait()
		for _, list := range tr.rooms {
			for k := range talkers {
				list[k].say(fmt.Sprint("last ", k))
			}
		}
		time.Sleep(5 * time.Second)
		for r, list := range tr.rooms {
			var heard [][]string
			for _, m := range list {
				if !m.lives() {
					t.Errorf("a socket of room %d was closed", r)
				}
				heard = append(heard, m.take())
			}
			for k := range talkers {
				if n := count(heard[0], fmt.Sprint("last ", k)); n != 1 {
					t.Errorf("room %d heard the last of %d %d times", r, k, n)
				}
			}
			// Two members of a router hear the same; those of two routers
			// differ at most in what was on its way when the epoch ended.
			if !slices.Equal(heard[0], heard[2]) || !slices.Equal(heard[1], heard[3]) {
				t.Errorf("room %d: members of one router disagree", r)
			}
		}
	})
}

func count(list []string, s string) (n int) {
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

// A shard that is stopped at once, without having drained, says no goodbye that would prove its end: its
// closed port does. Whether the others hear that goodbye or only the end of the connection is chance, so
// it is done often.
func TestShardStopped(t *testing.T) {
	t.Parallel()
	for range 20 {
		inWorldAgain(t, stopOwner)
	}
}

func stopOwner(t *testing.T, w *world) {
	w.cluster(3, 2)
	a, b := w.join("r1", "room=a&num=1"), w.join("r2", "room=a")
	w.agree(10 * time.Second)
	old := epochOf(t, a.take()[0])
	owner := w.running[w.owner("a")]
	owner.stop()
	<-owner.ended
	b.say("after")
	time.Sleep(time.Second)
	heard := a.take()
	if len(heard) != 2 || epochOf(t, heard[0]) == old || heard[1] != "1 after" {
		t.Fatalf("heard %q after epoch %s", heard, old)
	}
}

// A cluster whose only shard is killed serves again when it is back. It is a
// stranger then: its rooms begin anew.
func TestOnlyShardRestarts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 2)
		a, b := w.join("r1", "room=a&num=1"), w.join("r2", "room=a")
		old := epochOf(t, a.take()[0])
		b.say("before")
		a.hears("1 before")
		w.kill("s1")
		b.say("between")
		time.Sleep(20 * time.Second)
		w.shard("s1", 1, shard.Config{})
		time.Sleep(5 * time.Second)
		a.say("after")
		heard := a.take()
		if len(heard) != 3 || epochOf(t, heard[0]) == old || !strings.HasSuffix(heard[0], ".0 reset") {
			t.Fatalf("heard %q after epoch %s", heard, old)
		}
		a.heard = heard[1:]
		a.hears("1 between", "2 after")
		b.hears("before", "between", "after")
	})
}

// A router that dies harms its own sockets only.
func TestRouterKilled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(3, 2)
		a, b := w.join("r1", "room=a&num=1"), w.join("r2", "room=a")
		epoch := epochOf(t, a.take()[0])
		b.say("1")
		w.kill("r2")
		a.say("2")
		a.hears("1 1", "2 2")
		c := w.join("r1", "room=a&since="+epoch+".1") // b comes back, as a numbered one
		c.say("3")
		c.hears("!"+epoch+".1", "2 2", "3 3")
		b.closed(0, time.Second)
	})
}

// A publish whose owner is out of reach for 60 s closes its conn with 1013.
// Whether or not it got in, it never appears later, or twice.
func TestUnplacedPublish(t *testing.T) {
	for _, way := range []string{"never arrived", "acknowledgement lost"} {
		t.Run(way, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.cluster(1, 2)
				speaker, quiet, other := w.join("r1", "room=a"), w.join("r1", "room=a&num=1"), w.join("r2", "room=a")
				line := quiet.take()
				speaker.say("first")
				other.say("second")
				w.net.Cut("10.0.0.1", "10.0.1.1")
				if way == "never arrived" {
					w.net.Cut("10.0.1.1", "10.0.0.1")
				}
				began := time.Now()
				speaker.say("lost?")
				took(t, "closed", began, speaker.closed(1013, 2*time.Minute), 60*time.Second, 61*time.Second)
				if !quiet.lives() {
					t.Error("a listener was closed")
				}
				other.say("third")
				time.Sleep(20 * time.Second)
				w.net.Heal("10.0.0.1", "10.0.1.1")
				w.net.Heal("10.0.1.1", "10.0.0.1")
				time.Sleep(5 * time.Second)
				quiet.say("last")
				time.Sleep(time.Minute)
				want := []string{"first", "second", "lost?", "third", "last"}
				if way == "never arrived" {
					want = slices.Delete(want, 2, 3)
				}
				other.hears(want...)
				for i := range want {
					want[i] = fmt.Sprint(i+1, " ", want[i])
				}
				if got := quiet.take(); !slices.Equal(got, want) {
					t.Errorf("listener heard %q behind %q, want %q", got, line, want)
				}
				speaker.hears("first", "second")
			})
		})
	}
}
