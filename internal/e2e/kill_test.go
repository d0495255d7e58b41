//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is rooms with numbered members on several routers; in each, the first one publishes at a fixed
// pace.
type load struct {
	t     *testing.T
	rooms []*loadRoom

	stop  chan struct{}
	once  sync.Once
	group sync.WaitGroup
}

type loadRoom struct {
	name    string
	members []*client

	mu    sync.Mutex
	sent  []time.Time // when each message was about to be sent; message i is "i"
	voice *client     // who publishes
}

// newLoad has members join rooms, spread over the routers.
func newLoad(t *testing.T, rooms, members int, routers ...*node) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{})}
	for i := range rooms {
		r := &loadRoom{name: fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), i)}
		r.name = strings.ReplaceAll(r.name, "/", "-")
		l.rooms = append(l.rooms, r)
	}
	var group sync.WaitGroup
	for _, r := range l.rooms {
		group.Go(func() {
			for k := range members {
				r.members = append(r.members, dial(t, routers[k%len(routers)].listen, r.name))
			}
			r.voice = r.members[0]
		})
	}
	group.Wait()
	t.Cleanup(l.finish)
	return l
}

// run publishes one message in each room, from its first member, at each pace, until finish.
func (l *load) run(pace time.Duration) {
	for _, r := range l.rooms {
		l.group.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					r.publish()
				case <-l.stop:
					return
				}
			}
		})
	}
}

func (r *loadRoom) publish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.sent)
	r.sent = append(r.sent, time.Now())
	r.voice.say(strconv.Itoa(n))
}

func (l *load) finish() {
	l.once.Do(func() { close(l.stop) })
	l.group.Wait()
}

// firstAfter is the number of the first message that was sent after a time.
func (r *loadRoom) firstAfter(when time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.sent, when, time.Time.Compare)
	return i
}

// checkWhole checks that a member heard every message once, in order, and no line but the first.
func (r *loadRoom) checkWhole(t *testing.T, c *client) {
	t.Helper()
	if lines := c.positions(); len(lines) != 1 {
		t.Errorf("%s: lines %v, want the first one only", r.name, lines)
	}
	for i, text := range texts(c.messages()) {
		if text != strconv.Itoa(i) {
			t.Errorf("%s: message %d is %q", r.name, i, text)
			return
		}
	}
}

// waitLast waits until all members heard the last message of their room.
func (l *load) waitLast(within time.Duration) {
	l.t.Helper()
	for _, r := range l.rooms {
		last := strconv.Itoa(len(r.sent) - 1)
		for _, m := range r.members {
			m.wait("message "+last, within, func() bool {
				return len(m.heard) > 0 && m.heard[len(m.heard)-1].text == last
			})
		}
	}
}

// check ends the load and checks that every member heard every message once, in order, that nobody was
// told of a gap or a reset, and that no socket closed.
func (l *load) check() {
	l.t.Helper()
	l.finish()
	l.waitLast(patience)
	for _, r := range l.rooms {
		for _, m := range r.members {
			r.checkWhole(l.t, m)
		}
	}
	l.checkOpen()
}

// checkOpen checks that no socket closed.
func (l *load) checkOpen() {
	l.t.Helper()
	for _, r := range l.rooms {
		for _, m := range r.members {
			if e := m.ending(); e != nil {
				l.t.Errorf("a socket of %s closed: %s", r.name, e)
			}
		}
	}
}

// TestShardsKilled kills each of three shards in turn under load, the leader first, and starts it again:
// nobody misses a message, and nobody is told anything.
func TestShardsKilled(t *testing.T) {
	t.Parallel()
	rooms, members, rate, kills := 60, 4, 1500.0, 3
	if *figures {
		rooms, members, rate, kills = 100, 10, 10_000, 20
	}
	c := newCluster(t, 3, "s1", "s2", "s3", "r1", "r2")
	if *figures {
		c.moves = 32 // the default
	}
	c.startAll("s1", "s2", "s3", "r1", "r2")
	f := newTraffic(t, rooms, members, rate, c.nodes["r1"], c.nodes["r2"])
	l := newLoad(t, 8, 4, c.nodes["r1"], c.nodes["r2"])
	l.run(40 * time.Millisecond)
	var left []string // who was not killed in this round
	var longest []time.Duration
	for range kills {
		before := c.waitVoters(5)
		if len(left) == 0 {
			left = []string{"s1", "s2", "s3"}
		}
		at := max(0, slices.Index(left, before.Leader))
		victim := left[at]
		left = slices.Delete(left, at, at+1)
		rest := c.without(victim)
		pauses := f.during(fmt.Sprintf("%s killed, %s leads", victim, before.Leader), func() {
			said := watchUnsettled(t, rest)
			c.killAtOnce(victim)
			said()
		})
		longest = append(longest, pauses[len(pauses)-1])
		f.during(victim+" is back", func() {
			c.start(victim)
			after := c.waitVoters(5)
			checkTerms(t, &before, &after)
		})
	}
	f.check()
	l.check()
	slices.Sort(longest)
	t.Logf("%d kills: the longest pause of a room was p50 %s, at worst %s (promised: under 1 s)", kills, millis(longest[kills/2]), millis(longest[kills-1]))
	if longest[kills-1] > 8*time.Second {
		t.Error("too late")
	}
}

// watchUnsettled begins to watch nodes. The function that it returns waits until each has said that it is
// not settled and that there are single copies: it may not say so for long.
func watchUnsettled(t *testing.T, nodes []*node) (wait func()) {
	t.Helper()
	var group sync.WaitGroup
	for _, n := range nodes {
		group.Go(func() {
			again := time.NewTicker(10 * time.Millisecond)
			defer again.Stop()
			for began := time.Now(); time.Since(began) < patience; <-again.C {
				if r, err := n.summary(); err == nil && !r.Settled && r.SingleCopy > 0 {
					return
				}
			}
			t.Errorf("%s does not say that it is not settled", n.id)
		})
	}
	return group.Wait
}

// TestNoFollowers kills a shard of which nobody has copies: its rooms come back in a new epoch, and
// nobody else notices.
func TestNoFollowers(t *testing.T) {
	t.Parallel()
	const rooms, members, pace = 30, 6, 40 * time.Millisecond
	c := newCluster(t, 3, "s1", "s2", "s3", "r1", "r2")
	c.shardFlags = []string{"--followers", "0"}
	c.startAll(shuffled(t, "s1", "s2", "s3", "r1", "r2")...)
	l := newLoad(t, rooms, members, c.nodes["r1"], c.nodes["r2"])
	victim := c.nodes[c.nodes["r1"].owner(t, l.rooms[0].name)]
	lost := map[*loadRoom]bool{}
	for _, r := range l.rooms {
		lost[r] = c.nodes["r1"].owner(t, r.name) == victim.id
	}
	l.run(pace)
	l.waitAfter(time.Now(), patience)
	victim.kill()
	killed := time.Now()
	l.waitAfter(killed, patience)
	l.finish()
	l.waitLast(patience)
	took := l.checkLost(t, killed, lost)
	t.Logf("shard without followers killed: its rooms answered again within %s (promised: 1 s)", millis(took))
	if took > 10*time.Second {
		t.Error("too late")
	}
}

// checkLost checks that lost rooms began anew once after a time, and that the others are whole. It
// returns the longest pause of the lost ones.
func (l *load) checkLost(t *testing.T, when time.Time, lost map[*loadRoom]bool) (slowest time.Duration) {
	t.Helper()
	for _, r := range l.rooms {
		first := r.firstAfter(when)
		if lost[r] {
			slowest = max(slowest, r.pause(first))
		}
		for _, m := range r.members {
			if lost[r] {
				r.checkReset(t, m, first)
			} else {
				r.checkWhole(t, m)
			}
		}
	}
	l.checkOpen()
	return slowest
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// pause is the longest time from send to delivery of the messages from first on.
func (r *loadRoom) pause(first int) (longest time.Duration) {
	for _, m := range r.members {
		for _, msg := range m.messages() {
			if i := number(msg.text); i >= first {
				longest = max(longest, msg.when.Sub(r.sent[i]))
			}
		}
	}
	return longest
}

// checkReset checks what a member of a lost room heard: one new epoch that says so, and from first
// on every message once and in order.
func (r *loadRoom) checkReset(t *testing.T, c *client, first int) {
	t.Helper()
	lines := c.positions()
	if len(lines) != 2 || lines[1].suffix != "reset" || lines[1].epoch == lines[0].epoch {
		t.Errorf("%s: lines %v, want a first one and a reset", r.name, lines)
		return
	}
	seen := map[string]bool{}
	next := first
	for _, m := range c.messages() {
		if seen[m.epoch+m.text] {
			t.Errorf("%s: message %s came twice in epoch %s", r.name, m.text, m.epoch)
		}
		seen[m.epoch+m.text] = true
		if i := number(m.text); i >= first {
			if i != next || m.epoch != lines[1].epoch {
				t.Errorf("%s: message %d in epoch %s, want %d", r.name, i, m.epoch, next)
				return
			}
			next++
		}
	}
	if next != len(r.sent) {
		t.Errorf("%s: %d messages came, want %d", r.name, next, len(r.sent))
	}
}

// TestRouterKilled kills a router: its clients come back through another and miss nothing.
func TestRouterKilled(t *testing.T) {
	t.Parallel()
	const rooms, pace = 10, 20 * time.Millisecond
	c := newCluster(t, 1, "s1", "r1", "r2")
	c.startAll("s1", "r1", "r2")
	l := newLoad(t, rooms, 3, c.nodes["r2"])
	var theirs []*client // on the router that dies
	for _, r := range l.rooms {
		theirs = append(theirs, dial(t, c.nodes["r1"].listen, r.name))
	}
	l.run(pace)
	for _, m := range theirs {
		m.waitHeard(10, patience)
	}
	c.nodes["r1"].kill()
	var back []*client
	for _, m := range theirs {
		if e := m.waitEnd(patience); !e.reset() {
			t.Errorf("%s ended with %s", m.room, e)
		}
		back = append(back, dial(t, c.nodes["r2"].listen, m.room, "since="+m.position()))
	}
	for _, m := range back {
		m.waitHeard(10, patience)
	}
	l.finish()
	l.waitLast(patience)
	for i, r := range l.rooms {
		for _, m := range r.members {
			r.checkWhole(t, m)
			if e := m.ending(); e != nil {
				t.Errorf("a socket of the other router closed: %s", e)
			}
		}
		before, after := theirs[i], back[i]
		if at, again := before.position(), after.positions()[0]; again.suffix != "" || fmt.Sprintf("%s.%d", again.epoch, again.offset) != at {
			t.Errorf("%s: resumed at %v, left at %s", r.name, again, at)
		}
		last := strconv.Itoa(len(r.sent) - 1)
		after.wait("message "+last, patience, func() bool { return after.heard[len(after.heard)-1].text == last })
		for k, text := range slices.Concat(texts(before.messages()), texts(after.messages())) {
			if text != strconv.Itoa(k+number(before.messages()[0].text)) {
				t.Errorf("%s: message %q at place %d", r.name, text, k)
				break
			}
		}
	}
}
