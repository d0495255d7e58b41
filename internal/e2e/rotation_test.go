//go:build linux

package e2e

import (
	"fmt"
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
