package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/roomring/roomring/admin"
)

type forgetCommand struct {
	Name string `arg:"" name:"node" help:"Its id (s2), or the name of one run of it (s2/0123456789abc)."`
	decided
}

func (forgetCommand) Help() string {
	return `Tells the cluster that this run of the node is dead for good. Its partitions get new owners; its rooms
that have no other copy begin anew: their history is lost, and clients that resume are told " reset".

When: its host is gone and will not come back, and roomring ring shows partitions that still wait for it.
A node that crashed and was started again at its address, or that left, needs none of this.
Never: for a node that may still run, cut off from the others. What it acknowledges there would be lost.
A host that comes back after all joins as a new run.

Needs --admin-token. Exit code: 0 done, 1 refused or failed, 2 wrong use.`
}

// Run forgets the run that it has shown.
func (c *forgetCommand) Run(w *world) error {
	if err := admin.CheckNode(c.Name); err != nil {
		return usage(err.Error())
	}
	if err := c.ready(w); err != nil {
		return err
	}
	ring, err := c.ring(w)
	if err != nil {
		return err
	}
	name, what, err := c.choose(ring)
	if err != nil {
		return err
	}
	if err := c.confirm(w, what); err != nil {
		return err
	}
	var done admin.ForgetDocument
	return c.carryOut(w, "/v1/forget", map[string]string{"node": name}, &done, func() string {
		return printable(string(done.Node)) + " is forgotten"
	})
}

// choose finds the run that is meant, so that what is forgotten is what was confirmed, and words what
// that means. A node that is not listed may still stand in the Table: then the node that we ask decides.
func (c *forgetCommand) choose(ring *ringDocument) (name, what string, err error) {
	var alive, silent []ringNode
	for _, n := range ring.Nodes {
		switch {
		case n.ID != c.Name && n.name() != c.Name:
		case n.State == "alive":
			alive = append(alive, n)
		default:
			silent = append(silent, n)
		}
	}
	switch {
	case len(silent) == 1:
		return silent[0].name(), describe(ring, &silent[0]), nil
	case len(silent) > 1:
		names := make([]string, len(silent))
		for i := range silent {
			names[i] = silent[i].name()
		}
		return "", "", fmt.Errorf("several runs of %s are not alive, name one: %s", c.Name, printable(strings.Join(names, ", ")))
	case len(alive) > 0:
		return "", "", fmt.Errorf("%s is alive: drain it (roomring drain) or stop it, there is nothing to forget", printable(alive[0].name()))
	}
	return c.Name, fmt.Sprintf("%s\n%s is not among the nodes that are seen.\n%s", council(ring), c.Name, forgetMeans), nil
}

const forgetMeans = `To forget it says that it is dead for good: its rooms that have no other copy begin anew.
If it still runs somewhere, what it acknowledges there is lost.`

// describe words what one run is to its cluster, and what it means to forget it.
func describe(ring *ringDocument, n *ringNode) string {
	return council(ring) + "\n" + whoIs(ring, n) + "\n" + forgetMeans
}

// whoIs words what one run is to its cluster.
func whoIs(ring *ringDocument, n *ringNode) string {
	text := fmt.Sprintf("%s: %s, %s", printable(n.name()), dash(n.Role), dash(n.State))
	if n.Role == "shard" {
		text += ", owns " + plural(n.Owned, "partition")
	}
	if slices.Contains(ring.Voters, n.ID) {
		text += ", a voter"
	}
	return text
}
