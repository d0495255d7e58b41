package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/roomring/roomring/admin"
)

type recoverCommand struct{ decided }

func (recoverCommand) Help() string {
	return `Founds the cluster anew from the tables of all nodes that can be reached, in its next generation, with new
voters. Rooms whose owner lives go on as they are; the others begin anew: their history is lost, and clients
that resume are told " reset".

When: the majority of the voters is lost for good, with its disks. Voters that can be started again with
their --data-dir bring the cluster back by themselves: try that first.
Never: on both sides of a split, or on one while voters of the other may still run. That makes two clusters
with the same name; when they meet, the older generation has lost all that it acknowledged since.
Ask one node, once, when all nodes that are left can reach each other.

Needs --admin-token. Exit code: 0 done, 1 refused or failed, 2 wrong use.`
}

// Run founds the cluster anew.
func (c *recoverCommand) Run(w *world) error {
	if err := c.ready(w); err != nil {
		return err
	}
	ring, err := c.ring(w)
	if err != nil {
		return err
	}
	if ring.Leader != "" {
		return fmt.Errorf("the voters have a leader, %s: there is nothing to recover (has_majority)", printable(ring.Leader))
	}
	if err := c.confirm(w, survey(ring)); err != nil {
		return err
	}
	var done admin.RecoverDocument
	return c.carryOut(w, "/v1/recover", struct{}{}, &done, func() string {
		return fmt.Sprintf("founded anew as generation %d from the tables of %s: %s kept, %d begin anew",
			done.Generation, plural(len(done.Nodes), "node"), plural(done.Kept, "partition"), done.Reset)
	})
}

// survey words what is left of a cluster.
func survey(ring *ringDocument) string {
	var alive, silent []string
	kept := 0
	for _, n := range ring.Nodes {
		if n.State == "alive" {
			alive = append(alive, printable(n.ID))
			kept += n.Owned
		} else {
			silent = append(silent, printable(n.ID))
		}
	}
	slices.Sort(alive)
	slices.Sort(silent)
	return fmt.Sprintf(`%s
alive: %s
not alive: %s
Recovering founds the cluster anew, without the voters that are not alive. As far as this node knows,
%s of %d keep their rooms, and in %d they begin anew.
If voters still run where this node cannot see them, there will be two clusters.`,
		council(ring), dash(strings.Join(alive, ", ")), dash(strings.Join(silent, ", ")),
		plural(kept, "partition"), len(ring.Table), len(ring.Table)-kept)
}
