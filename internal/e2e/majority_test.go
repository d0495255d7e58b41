//go:build linux

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMajorityLost loses three of five voters for good. What is left goes on serving the rooms of which
// it has all copies, and says that the Table cannot change; the operator's word brings it back. A voter
// of the lost majority that was only asleep changes nothing.
func TestMajorityLost(t *testing.T) {
	t.Parallel()
	ids := []string{"s1", "s2", "s3", "s4", "r1", "r2"}
	c := newCluster(t, 4, ids...)
	c.startAll(ids...)
	before := c.waitVoters(5)
	router, lost := c.nodes["r1"], c.nodes["r2"] // one of them votes
	if slices.Contains(before.Voters, "r1") {
		router, lost = lost, router
	}
	intact, killed, asleep := []string{"s1", "s2"}, c.nodes["s3"], c.nodes["s4"]
	among := func(copies ...string) func(roomDocument) bool {
		return func(d roomDocument) bool { return slices.Equal(d.copies(), copies) }
	}
	served := router.memberWhere(t, "intact", among(intact...))
	reset := router.memberWhere(t, "lost", among("s3", "s4"))
	half := router.memberWhere(t, "half", func(d roomDocument) bool { return d.Owner == "s1" && slices.Contains(d.Followers, "s3") })

	asleep.signal(syscall.SIGSTOP)
	began := c.killAtOnce(killed.id, lost.id)
	rest := []*node{c.nodes["s1"], c.nodes["s2"], router}
	for _, n := range rest {
		eventually(t, n.id+" says no_majority", patience, func() bool { return n.says("no_majority") })
	}
	t.Logf("no_majority is said after %s", millis(time.Since(began)))
	served.echo("without a majority", patience)
	for _, m := range []*client{reset, half} {
		m.say("to be delivered later")
	}
	if r, err := router.ring(); err != nil || r.Version != before.Version {
		t.Errorf("the table changed without a majority: version %d, %v", r.Version, err)
	}

	out, errs, code := c.operate("recover", "--node", router.admin)
	if code != 0 || !strings.Contains(out, "generation 1") {
		t.Fatalf("recover: code %d, %s%s", code, out, errs)
	}
	t.Logf("roomring recover: %s", strings.TrimSpace(out))
	for _, shard := range []string{killed.id, asleep.id} {
		waitRows(t, rest, shard, before.Version, patience)
	}
	for _, m := range []*client{reset, half} {
		m.waitHeard(2, patience)
	}
	served.echo("recovered", patience)
	recovered, err := router.ring()
	if err != nil || recovered.generation() != 1 || recovered.Instance != before.Instance {
		t.Fatalf("version %d, instance %s, %v", recovered.Version, recovered.Instance, err)
	}
	checkTerms(t, &before, &recovered)

	asleep.signal(syscall.SIGCONT)
	eventually(t, asleep.id+" is back", patience, func() bool {
		r, err := router.summary()
		return err == nil && r.state(asleep.id) == "alive"
	})
	c.nodes[killed.id], c.nodes[lost.id] = c.start(killed.id), c.start(lost.id)
	after := c.waitVoters(5)
	checkTerms(t, &recovered, &after)
	if after.generation() != 1 {
		t.Errorf("generation %d after one of the lost ones woke", after.generation())
	}
	for _, m := range []*client{reset, half, served} {
		m.echo("all are back", patience)
	}
	served.checkResets(t, 0)
	half.checkResets(t, 0) // its owner lived all the time
	reset.checkResets(t, 1)
}

// operate runs an operator's command with the cluster's token.
func (c *cluster) operate(args ...string) (out, errs string, code int) {
	c.t.Helper()
	return command(c.t, append(args, "--token", c.token, "--yes")...)
}

// TestVotesOnDisk kills the majority, and then all nodes, which come back with their directories, and then
// all of them once more, which come back elsewhere: nobody is left who saw them die, nor is anything at
// their old addresses. It is the same instance in the same generation, rooms have owners, and nobody had to
// say anything.
func TestVotesOnDisk(t *testing.T) {
	t.Parallel()
	ids := []string{"s1", "s2", "s3", "r1", "r2"}
	c := newCluster(t, 3, ids...)
	c.data = t.TempDir()
	c.startAll(ids...)
	before := c.waitVoters(5)
	stays := c.nodes["r1"].memberOf(t, "s1")
	for _, round := range []struct {
		lost  []string
		moves bool
	}{{lost: []string{"s2", "s3", "r2"}}, {lost: ids}, {lost: ids, moves: true}} {
		c.killAtOnce(round.lost...)
		if round.moves {
			c.house(ids...)
		}
		began := time.Now()
		c.startAll(shuffled(t, slices.Clone(round.lost)...)...)
		after := c.waitVoters(5)
		t.Logf("%+v killed and started again: one ring of version %d, was %d, after %s", round, after.Version, before.Version, millis(time.Since(began)))
		if after.Instance != before.Instance || after.generation() != 0 {
			t.Errorf("instance %s, version %d; were %s, %d", after.Instance, after.Version, before.Instance, before.Version)
		}
		checkTerms(t, &before, &after)
		if len(round.lost) < len(ids) {
			stays.echo("the majority is back", patience)
			stays.checkResets(t, 0)
		} else {
			dial(t, c.nodes["r1"].listen, "lobby").echo("hello again", patience)
		}
		before = after
	}
}

// TestRollingRestart restarts all nodes one by one, politely.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		disk bool
	}{{"memory", false}, {"disk", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ids := []string{"s1", "s2", "s3", "r1"}
			c := newCluster(t, 3, ids...)
			if test.disk {
				c.data = t.TempDir()
			}
			c.startAll(ids...)
			before := c.waitVoters(3)
			began := time.Now()
			for _, id := range ids {
				before = c.restart(id, before)
				m := dial(t, c.nodes["r1"].listen, "lobby")
				m.echo("after "+id, patience)
				m.conn.Close() // else the router takes its time to drain
			}
			t.Logf("%d nodes restarted in %s", len(ids), millis(time.Since(began)))
		})
	}
}

// restart ends a node politely and starts it again. It returns the ring that comes of it.
func (c *cluster) restart(id string, before ring) (after ring) {
	c.t.Helper()
	old := c.nodes[id]
	began := time.Now()
	old.signal(syscall.SIGTERM)
	if code := old.exit(c.t, patience); code != 0 {
		c.t.Errorf("%s: exit code %d", id, code)
	}
	for _, line := range complaints(c.t, old) {
		if strings.Contains(line, "still counted on") {
			c.t.Errorf("%s: %s", id, line)
		}
	}
	left := time.Since(began)
	c.start(id)
	after = c.waitVoters(len(before.Voters))
	c.t.Logf("%s restarted: it left after %s, one ring again after %s", id, millis(left), millis(time.Since(began)))
	if after.Instance != before.Instance || after.generation() != before.generation() {
		c.t.Errorf("%s restarted: instance %s, version %d; were %s, %d", id, after.Instance, after.Version, before.Instance, before.Version)
	}
	checkTerms(c.t, &before, &after)
	return after
}

// TestOnlyShardEnds ends the only shard and voter. When it says goodbye, the router takes its vote. When
// it is killed and back at its address, it is known for certain that the old run is dead: with its log
// the new one goes on, without one it recovers the cluster. At another address it takes an operator.
func TestOnlyShardEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		disk       bool
		end        syscall.Signal
		moves      bool
		generation uint64
	}{
		{name: "killed", end: syscall.SIGKILL, generation: 1},
		{name: "killed, with its log", disk: true, end: syscall.SIGKILL},
		{name: "drained", end: syscall.SIGTERM}, // the router votes by then
		{name: "drained, with its log", disk: true, end: syscall.SIGTERM},
		{name: "drained, back elsewhere", end: syscall.SIGTERM, moves: true},
		{name: "killed, back elsewhere", end: syscall.SIGKILL, moves: true, generation: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1, "s1", "r1")
			if test.disk {
				c.data = t.TempDir()
			}
			c.startAll("s1", "r1")
			before := c.waitVoters(1)
			m := dial(t, c.nodes["r1"].listen, "lobby")
			m.echo("before", patience)
			c.nodes["s1"].signal(test.end)
			<-c.nodes["s1"].done
			if test.moves {
				c.ports["s1"] = freePorts(t, 2, 0, 1)
			}
			began := time.Now()
			s1 := c.start("s1")
			if test.moves && test.end == syscall.SIGKILL {
				eventually(t, "s1 has the table and nobody to change it", patience, func() bool { return s1.says("no_majority") })
				if out, errs, code := c.operate("recover", "--node", s1.admin); code != 0 {
					t.Fatalf("recover: code %d, %s%s", code, out, errs)
				}
			}
			m.echo("after", patience)
			took := time.Since(began)
			after := c.waitVoters(1)
			t.Logf("its room answered %s after it was started again", millis(took))
			checkTerms(t, &before, &after)
			if after.Instance != before.Instance || after.generation() != test.generation {
				t.Errorf("instance %s, generation %d; the instance was %s", after.Instance, after.generation(), before.Instance)
			}
			m.checkResets(t, 1)
		})
	}
}
