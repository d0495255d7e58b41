//go:build linux

package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKeyRotation changes the cluster key by restarting nodes one by one, three times around: all
// learn the new key, then all use it, then all forget the old one.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	ids := []string{"s1", "r1", "s2", "r2"}
	c := newCluster(t, 2, ids...)
	c.startAll(ids...)
	before := c.waitVoters(3)
	former, next := c.key, newKey()
	began := time.Now()
	for round, keys := range []string{former + "," + next, next + "," + former, next} {
		c.key = keys
		for _, id := range ids {
			routers := c.without("s1", "s2", id)
			stays := dial(t, routers[len(routers)-1].listen, "lobby")
			stays.echo("before "+id, patience)
			before = c.restart(id, before)
			stays.echo(fmt.Sprintf("round %d, after %s", round+1, id), patience)
			if e := stays.ending(); e != nil {
				t.Errorf("a socket closed: %s", e)
			}
			stays.conn.Close()
		}
	}
	t.Logf("the key was changed by %d restarts in %.1f s", 3*len(ids), time.Since(began).Seconds())
}

// put writes one of the files of a cluster.
func (c *cluster) put(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.files, name), []byte(text+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// reload has a node read its files again, and checks whether it took one of them.
func (n *node) reload(t *testing.T, file string, want bool) {
	t.Helper()
	count := func(text, message, file string) (n int) {
		for line := range strings.Lines(text) {
			if strings.Contains(line, fmt.Sprintf(`"message":%q`, message)) && strings.Contains(line, fmt.Sprintf(`"of":%q`, file)) {
				n++
			}
		}
		return n
	}
	ended := func(text string) int { // the tokens come last
		return count(text, "secret reloaded", "admin-token-file") + count(text, "secret not reloaded", "admin-token-file")
	}
	before := n.log.String()
	n.signal(syscall.SIGHUP)
	n.waitOutput(t, n.log, "end of a reload", patience, func(text string) bool { return ended(text) > ended(before) })
	after := n.log.String()
	good, bad := count(after, "secret reloaded", file)-count(before, "secret reloaded", file), count(after, "secret not reloaded", file)-count(before, "secret not reloaded", file)
	if want && good != 1 || !want && bad != 1 {
		t.Fatalf("%s: %s was read %d times, and %d times not:\n%s", n.id, file, good, bad, tail(after, 5))
	}
}

// firstKey is what /metrics of a node says of its cluster keys.
func (n *node) firstKey(t *testing.T) string {
	t.Helper()
	_, page, err := n.ask("/metrics")
	m := regexp.MustCompile(`(?m)^roomring_cluster_key_info\{(.*)\} 1$`).FindSubmatch(page)
	if m == nil {
		t.Fatalf("%s says nothing of its keys: %v", n.id, err)
	}
	return string(m[1])
}

// TestKeyRotationBySignal changes cluster key and admin token of nodes that run, with SIGHUP: nobody is
// restarted, and no socket and no link closes. Then who has the old key is a stranger.
func TestKeyRotationBySignal(t *testing.T) {
	t.Parallel()
	ids := []string{"s1", "r1", "s2", "r2"}
	c := newCluster(t, 2, ids...)
	c.files = t.TempDir()
	former, next := c.key, newKey()
	c.put("key", former)
	c.put("token", c.token)
	c.startAll(ids...)
	before := c.waitVoters(3)
	members := []*client{dial(t, c.nodes["r1"].listen, "lobby"), dial(t, c.nodes["r2"].listen, "lobby")}
	first := c.nodes["s1"].firstKey(t)

	c.put("key", next) // all steps at once: no node does that
	for _, id := range ids {
		c.nodes[id].reload(t, "cluster-key-file", false)
	}
	c.put("key", "no key")
	c.nodes["s1"].reload(t, "cluster-key-file", false)
	began := time.Now()
	for round, keys := range []string{former + "," + next, next + "," + former, next} {
		c.put("key", keys)
		for _, id := range ids {
			c.nodes[id].reload(t, "cluster-key-file", true)
			for i, m := range members {
				m.echo(fmt.Sprintf("round %d, behind %s, from %d", round, id, i), patience)
			}
		}
	}
	t.Logf("the key was changed by 12 signals in %.1f s", time.Since(began).Seconds())
	last := c.nodes["s1"].firstKey(t)
	for _, id := range ids {
		if got := c.nodes[id].firstKey(t); got != last || got == first || !strings.Contains(got, `keys="1"`) {
			t.Errorf("%s has the keys %s, s1 %s, before %s", id, got, last, first)
		}
		if n := c.nodes[id].metrics(t)["roomring_link_downs_total"]; n > 0 {
			t.Errorf("%s: %v links closed", id, n)
		}
	}

	fresh := secret(rand.Text())
	c.put("token", fresh)
	for _, n := range c.running() {
		n.reload(t, "admin-token-file", true)
		if status, _, err := n.ask("/v1/ring"); err != nil || status != http.StatusUnauthorized {
			t.Errorf("%s with the old token: %d %v", n.id, status, err)
		}
		n.token = fresh
	}
	if out, errs, code := command(t, "ring", "--node", c.nodes["s1"].admin, "--token-file", filepath.Join(c.files, "token")); code != 0 {
		t.Errorf("roomring ring with the new token: code %d, %s%s", code, out, errs)
	}
	c.token = fresh

	away := newCluster(t, 1, "s9")
	away.name, away.key, away.seeds = c.name, former, c.seeds
	stranger := away.start("s9")
	stranger.waitOutput(t, stranger.log, "word that it is not understood", patience, func(text string) bool {
		return strings.Contains(text, "its cluster name or key may be another")
	})
	for i, m := range members {
		m.echo(fmt.Sprintf("in the end, from %d", i), patience)
		if e := m.ending(); e != nil {
			t.Errorf("a socket closed: %s", e)
		}
	}
	if after := c.waitVoters(3); after.Instance != before.Instance || len(after.Nodes) != len(ids) {
		t.Errorf("%d nodes of instance %s, were %d of %s", len(after.Nodes), after.Instance, len(ids), before.Instance)
	}
}
