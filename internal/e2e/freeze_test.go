//go:build linux

package e2e

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestShardFrozen stops a shard's process for a while, as a paused host is: nobody misses a message.
// When it wakes it has nothing to say about rooms that others own by then, and gets its share again.
func TestShardFrozen(t *testing.T) {
	t.Parallel()
	times := 1
	if *figures {
		times = 5
	}
	c := five(t)
	f := newTraffic(t, 60, 4, 1500, c.nodes["r1"], c.nodes["r2"])
	l := newLoad(t, 12, 4, c.nodes["r1"], c.nodes["r2"])
	l.run(40 * time.Millisecond)
	for range times {
		before := c.waitVoters(5)
		other := c.nodes[before.richest(before.Leader)]
		frozen(c, f, other, time.Second, false)
		frozen(c, f, other, 3*time.Second, true)
	}
	if *figures {
		leader := c.waitVoters(5).Leader
		frozen(c, f, c.nodes[leader], 3*time.Second, !isRouter(leader))
	}
	f.check()
	l.check()
	eventually(t, "every room is there twice, and what was stale is gone", patience, func() bool {
		copies := 0
		for _, id := range []string{"s1", "s2", "s3"} {
			copies += int(c.nodes[id].metrics(t)["roomring_shard_rooms"])
		}
		return copies == 2*(f.rooms+len(l.rooms))
	})
	for _, r := range l.rooms {
		// Whoever owns the room now, the one that slept too, has all of it.
		epoch := r.members[0].positions()[0].epoch
		late := dial(t, c.nodes["r1"].listen, r.name, "since="+epoch+".0")
		late.waitHeard(len(r.sent), patience)
		for i, text := range texts(late.messages()) {
			if text != strconv.Itoa(i) {
				t.Errorf("%s: who comes late hears %q at place %d", r.name, text, i)
				break
			}
		}
	}
}

// frozen stops a shard and wakes it again; if loses, not before others have taken over what it had.
func frozen(c *cluster, f *traffic, n *node, sleep time.Duration, loses bool) {
	c.t.Helper()
	witness := c.without(n.id)[0]
	before, err := witness.ring()
	if err != nil {
		c.t.Fatal(err)
	}
	f.during(fmt.Sprintf("%s frozen for %s", n.id, sleep), func() {
		n.signal(syscall.SIGSTOP)
		<-time.After(sleep) // nothing else is to happen
		if loses {
			eventually(c.t, n.id+" owns nothing", patience, func() bool {
				r, err := witness.ring()
				return err == nil && r.owned(n.id) == 0
			})
		}
		n.signal(syscall.SIGCONT)
	})
	f.during(n.id+" awake", func() {
		after := c.waitVoters(5)
		checkTerms(c.t, &before, &after)
	})
}
