//go:build linux

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestForget has an operator say that a silent shard is dead, which has the only copy of its rooms. They
// begin anew elsewhere; when it wakes it is fenced.
func TestForget(t *testing.T) {
	t.Parallel()
	forget(t, 0)
}

// forget wakes the shard so long after it was forgotten.
func forget(t *testing.T, sleep time.Duration) {
	const rooms, pace = 12, 40 * time.Millisecond
	c := newCluster(t, 2, "s1", "s2", "r1", "r2")
	c.shardFlags = []string{"--followers", "0"}
	c.startAll("s1", "s2", "r1", "r2")
	before := c.waitVoters(3)
	silent := c.nodes[before.richest(before.Leader)]
	other := c.nodes[before.richest(silent.id)]
	rest := c.without(silent.id)
	l := newLoad(t, rooms, 4, c.nodes["r1"], c.nodes["r2"])
	lost := map[*loadRoom]bool{}
	for _, r := range l.rooms {
		lost[r] = c.nodes["r1"].owner(t, r.name) == silent.id
	}
	l.run(pace)
	for _, r := range l.rooms {
		r.members[0].waitHeard(10, patience)
	}

	if _, errs, code := c.operate("forget", silent.id, "--node", other.admin); code != 1 || !strings.Contains(errs, "is alive") {
		t.Errorf("forget a living node: code %d, %s", code, errs)
	}
	silent.signal(syscall.SIGSTOP)
	began := time.Now()
	said := ""
	eventually(t, "it can be forgotten", patience, func() bool {
		out, errs, code := c.operate("forget", silent.id, "--node", c.nodes["r2"].admin)
		said = out + errs
		return code == 0
	})
	t.Logf("forgotten %s after the freeze: %s", millis(time.Since(began)), strings.TrimSpace(said))
	waitRows(t, rest, silent.id, before.Version, patience)
	l.waitAfter(time.Now(), patience)
	kept, err := rest[0].ring()
	if err != nil {
		t.Fatal(err)
	}

	<-time.After(sleep) // nothing is to happen
	silent.signal(syscall.SIGCONT)
	woke := time.Now()
	after := c.waitVoters(3)
	t.Logf("it woke: one ring again after %s", millis(time.Since(woke)))
	checkTerms(t, &kept, &after)
	l.waitAfter(time.Now(), patience)
	l.finish()
	l.waitLast(patience)
	for _, r := range l.rooms {
		for _, m := range r.members {
			m.checkResets(t, map[bool]int{true: 1}[lost[r]])
		}
	}
	// What moved back to it afterwards was handed over: nobody heard of that.
	if missing, conflicts := l.compareMembers(began); missing > 0 || conflicts > 0 {
		t.Errorf("%d messages after the freeze were not heard by somebody, in %d places members heard different ones", missing, conflicts)
	}
}

// waitAfter waits until all members heard messages that were sent after a time.
func (l *load) waitAfter(when time.Time, within time.Duration) {
	l.t.Helper()
	for _, r := range l.rooms {
		first := r.firstAfter(when)
		for _, m := range r.members {
			m.wait(fmt.Sprintf("message above %d", first), within, func() bool {
				return len(m.heard) > 0 && number(m.heard[len(m.heard)-1].text) > first
			})
		}
	}
}

// compareMembers counts the messages sent after a time that some member did not hear, and the places
// (epoch and offset) where members heard different ones: two owners were heard there.
func (l *load) compareMembers(after time.Time) (missing, conflicts int) {
	for _, r := range l.rooms {
		at := map[string]string{}
		for _, m := range r.members {
			seen := map[string]bool{}
			for _, msg := range m.messages() {
				place := msg.epoch + "." + strconv.FormatUint(msg.offset, 10)
				if was, known := at[place]; known && was != msg.text {
					conflicts++
				}
				at[place] = msg.text
				seen[msg.text] = true
			}
			for i := r.firstAfter(after); i < len(r.sent); i++ {
				if !seen[strconv.Itoa(i)] {
					missing++
				}
			}
		}
	}
	return missing, conflicts
}
