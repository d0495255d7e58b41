//go:build linux

package e2e

import (
	"strconv"
	"syscall"
	"testing"
	"time"
)

// replace ends a node politely, starts it again, and waits until it is ready, as an orchestrator does.
func (c *cluster) replace(id string) {
	c.t.Helper()
	old := c.nodes[id]
	old.signal(syscall.SIGTERM)
	if code := old.exit(c.t, patience); code != 0 {
		c.t.Errorf("%s: exit code %d, %v", id, code, complaints(c.t, old))
	}
	n := c.start(id)
	eventually(c.t, id+" is ready again", patience, n.ready)
}

// TestRollingDeploy replaces all shards one by one, and then all routers, under load. Members whose
// router goes come back through the other one, from where they were.
func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "s1", "s2", "s3", "r1", "r2")
	c.routerFlags = []string{"--drain-time", "1s"}
	c.startAll("s1", "s2", "s3", "r1", "r2")
	l := newLoad(t, 12, 4, c.nodes["r2"], c.nodes["r1"])
	l.run(40 * time.Millisecond)
	f := newTraffic(t, 60, 4, 1500, c.nodes["r1"], c.nodes["r2"])
	for _, id := range []string{"s1", "s2", "s3"} {
		f.during(id+" replaced", func() { c.replace(id) })
	}
	f.check()
	l.checkOpen()

	travellers := newTravellers(l)
	for _, id := range []string{"r1", "r2"} {
		old, other := c.nodes[id], c.nodes[map[string]string{"r1": "r2", "r2": "r1"}[id]]
		for _, r := range l.rooms {
			r.speakThrough(t, other)
		}
		old.signal(syscall.SIGTERM)
		for _, v := range travellers {
			if v.at().conn.RemoteAddr().String() == old.listen {
				v.travel(t, other)
			}
		}
		if code := old.exit(t, patience); code != 0 {
			t.Errorf("%s: exit code %d", id, code)
		}
		eventually(t, id+" is ready again", patience, c.start(id).ready)
		l.waitAfterOf(travellers)
	}
	l.finish()
	for _, v := range travellers {
		v.checkJourney(t)
	}
}

// speakThrough has a room's messages published through another router from now on. All that was said
// before has come by then, so the order of the messages is known.
func (r *loadRoom) speakThrough(t *testing.T, n *node) {
	t.Helper()
	next := dial(t, n.listen, r.name)
	r.mu.Lock()
	defer r.mu.Unlock()
	last := strconv.Itoa(len(r.sent) - 1)
	r.voice.wait("own message "+last, patience, func() bool {
		return len(r.voice.heard) > 0 && r.voice.heard[len(r.voice.heard)-1].text == last
	})
	r.voice = next
}

// traveller is a member that comes back through another router when its own goes.
type traveller struct {
	room  *loadRoom
	conns []*client // one after the other
}

// newTravellers are all members of a load.
func newTravellers(l *load) (list []*traveller) {
	for _, r := range l.rooms {
		for _, m := range r.members {
			list = append(list, &traveller{r, []*client{m}})
		}
	}
	return list
}

func (v *traveller) at() *client { return v.conns[len(v.conns)-1] }

// travel waits until its conn is told to go, and resumes.
func (v *traveller) travel(t *testing.T, to *node) {
	t.Helper()
	if e := v.at().waitEnd(patience); e.code != 1012 {
		t.Errorf("%s: ended with %s, want 1012", v.room.name, e)
	}
	v.conns = append(v.conns, dial(t, to.listen, v.room.name, "since="+v.at().position()))
}

// waitAfterOf waits until travellers heard messages that were sent from now on.
func (l *load) waitAfterOf(list []*traveller) {
	l.t.Helper()
	now := time.Now()
	for _, v := range list {
		c, first := v.at(), v.room.firstAfter(now)
		c.wait("message "+strconv.Itoa(first), patience, func() bool {
			return len(c.heard) > 0 && number(c.heard[len(c.heard)-1].text) >= first
		})
	}
}

// checkJourney waits for the room's last message, and checks that each one came once, in order, over
// all the conns, and that every resume was whole.
func (v *traveller) checkJourney(t *testing.T) {
	t.Helper()
	next, was := 0, ""
	last := strconv.Itoa(len(v.room.sent) - 1)
	v.at().wait("message "+last, patience, func() bool {
		heard := v.at().heard
		return len(heard) > 0 && heard[len(heard)-1].text == last
	})
	for _, c := range v.conns {
		if lines := c.positions(); len(lines) != 1 || was != "" && lines[0].String() != was {
			t.Errorf("%s: lines %v, want one, which is %s but for the first conn", v.room.name, lines, was)
		}
		for _, text := range texts(c.messages()) {
			if text != strconv.Itoa(next) {
				t.Errorf("%s: message %q, want %d", v.room.name, text, next)
				return
			}
			next++
		}
		was = c.position()
	}
}
