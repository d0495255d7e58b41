package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/roomring/roomring/admin"
)

type drainCommand struct {
	Name   string `arg:"" name:"node" help:"Its id (s2), or the name of one run of it (s2/0123456789abc)."`
	NoWait bool   `name:"no-wait" help:"Return when it has begun."`
	decided
}

func (drainCommand) Help() string {
	return `Has the node leave as SIGTERM would. A shard hands over its partitions and copies, and no client notices; a
router closes its clients one by one with 1012, and they come back at others. Then its process ends.
Shows what will move, asks for confirmation, and tells how far it is until the node has left. Ctrl-C ends the
telling, not the drain: nothing does. Better ask another node than the one that leaves.

  roomring drain s2 --node 127.0.0.1:8001
  roomring drain s2 --yes --no-wait

Needs --admin-token. Exit code: 0 it has left (with --no-wait: it has begun), 1 refused or failed, or not seen to
the end, 2 wrong use.`
}

// Run drains the run that it has shown.
func (c *drainCommand) Run(w *world) error {
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
	node, err := c.choose(ring)
	if err != nil {
		return err
	}
	what, now, err := c.foresee(w, ring, node)
	if err != nil {
		return err
	}
	if err := c.confirm(w, what); err != nil {
		return err
	}
	var done admin.DrainDocument
	if err := c.carryOut(w, "/v1/drain", map[string]string{"node": node.name()}, &done, func() string {
		return printable(string(done.Node)) + " drains"
	}); err != nil || c.NoWait {
		return err
	}
	return c.follow(w, &leaving{node: *node, since: now, owned: node.Owned})
}

// choose finds the run that is meant, so that what is drained is what was confirmed.
func (c *drainCommand) choose(ring *ringDocument) (*ringNode, error) {
	var other *ringNode
	for i := range ring.Nodes {
		n := &ring.Nodes[i]
		switch {
		case n.ID != c.Name && n.name() != c.Name:
		case n.State == "alive":
			return n, nil
		case other == nil || other.State == "dead":
			other = n
		}
	}
	if other == nil {
		return nil, fmt.Errorf("%s is not among the nodes that are seen: roomring ring lists them", c.Name)
	}
	return nil, fmt.Errorf("%s is %s: there is nothing to drain", printable(other.name()), dash(other.State))
}

// foresee words what the drain of a node will do. now is the wall clock of the node that is asked: what
// it tells of earlier times is about something else.
func (c *drainCommand) foresee(w *world, ring *ringDocument, n *ringNode) (text string, now int64, err error) {
	nodes, _, err := c.nodes(w.ctx)
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", council(ring), whoIs(ring, n))
	if n.Role != "shard" {
		conns := "its clients"
		for _, f := range nodes.Nodes {
			if string(f.ID) == n.ID && f.Incarnation == n.Incarnation && f.Reached {
				conns = "its " + plural(f.Conns, "client")
			}
		}
		fmt.Fprintf(&b, "It takes no new clients, closes %s one by one with 1012, and ends.\n", conns)
		if len(living(ring, n.Role)) < 2 {
			b.WriteString("No other router lives: clients have nowhere to go.\n")
		}
		return strings.TrimSuffix(b.String(), "\n"), nodes.Now, nil
	}
	if len(living(ring, n.Role)) < 2 {
		b.WriteString("No other shard lives: nobody takes its rooms, and they are lost.\n")
		return strings.TrimSuffix(b.String(), "\n"), nodes.Now, nil
	}
	return strings.TrimSuffix(b.String(), "\n") + "\n\n" + c.moves(w, n), nodes.Now, nil
}

// moves shows what a shard will hand over. A node that cannot say is no reason not to drain another.
func (c *drainCommand) moves(w *world, n *ringNode) string {
	plan, _, err := c.plan(w.ctx, url.Values{"remove": {n.ID}})
	if err != nil {
		return fmt.Sprintf("What will move is not known: %v", err)
	}
	var b strings.Builder
	s := screen{w: &b, width: usualWidth}
	if err := printPlan(s, plan); err != nil {
		return fmt.Sprintf("What will move is not known: %v", err)
	}
	return b.String() + "\nIt hands over what it has, and ends."
}

// living are the nodes of a role that are alive.
func living(ring *ringDocument, role string) (list []ringNode) {
	for _, n := range ring.Nodes {
		if n.Role == role && n.State == "alive" {
			list = append(list, n)
		}
	}
	return list
}

// leaving is what was seen of a run that drains.
type leaving struct {
	node  ringNode // as it was when it began
	since int64    // wall time at the asked node then, in Unix milliseconds
	owned int      // partitions, when it was last seen
	conns int      // likewise
	moves int      // under way
	self  bool     // it is the asked node
	gone  int      // seconds for which it is not seen any more, at least
	late  int      // seconds since it has left
	state outcome
	why   string // that it died
}

type outcome int

const (
	drains outcome = iota
	left           // it said goodbye, or is gone and had nothing any more
	died
)

// verdictSeconds is how long the feed may take to say how a node went that is gone, and the table of the
// asked node to say that nothing was left to it: the last that it handed over may be seen after its goodbye.
const verdictSeconds = 3

// errOver ends the stream when the outcome is known.
var errOver = errors.New("over")

// follow tells how far a drain is, until the node has left.
func (c *drainCommand) follow(w *world, l *leaving) error {
	begun := time.Now()
	show := statusLine{w: w.stderr, rewrite: w.stderrTerminal}
	err := c.watch(w.ctx, "/v1/events", url.Values{}, func(name string, data []byte) error {
		if err := c.hear(l, name, data); err != nil {
			return err
		}
		if l.over() {
			return errOver
		}
		if show.rewrite {
			show.show(l.progress())
		}
		return nil
	})
	show.clear()
	if l.self && l.state == drains && l.owned == 0 && errors.Is(err, errCutOff) {
		l.state = left // with its port
	}
	return c.report(w, l, err, time.Since(begun))
}

// report says how it ended.
func (c *drainCommand) report(w *world, l *leaving, err error, took time.Duration) error {
	name := printable(l.node.name())
	switch {
	case l.state == died:
		return fmt.Errorf("%s did not leave but died: %s", name, dash(l.why))
	case l.state == left && l.owned > 0:
		return fmt.Errorf("%s has left and still owned %s: its time was up, followers take over", name, plural(l.owned, "partition"))
	case l.state == left && c.JSON:
		return nil
	case l.state == left:
		_, err := fmt.Fprintf(w.stdout, "%s has left after %s\n", name, took.Round(100*time.Millisecond))
		return err
	case w.ctx.Err() != nil:
		return fmt.Errorf("%s goes on draining: only the telling has ended", name)
	}
	return fmt.Errorf("%w\nwhether %s has left, roomring ring tells", err, name)
}

// hear takes in an event.
func (c *drainCommand) hear(l *leaving, name string, data []byte) error {
	switch name {
	case admin.EventRing, admin.EventChange:
		var ring admin.RingEvent
		if err := c.readEvent(name, data, &ring); err != nil {
			return err
		}
		l.ring(&ring)
	case admin.EventNodes:
		var nodes admin.NodesDocument
		if err := c.readEvent(name, data, &nodes); err != nil {
			return err
		}
		l.second(&nodes)
	case admin.EventFeed:
		var e admin.FeedEvent
		if err := c.readEvent(name, data, &e); err != nil {
			return err
		}
		l.feed(&e)
	}
	return nil
}

func (l *leaving) ring(ring *admin.RingEvent) {
	l.self, l.moves = string(ring.Asked) == l.node.ID, len(ring.Moves)
	seen := false
	l.owned = 0 // of who is not listed: the table does not name it
	for _, n := range ring.Nodes {
		if string(n.ID) == l.node.ID && n.Incarnation == l.node.Incarnation {
			seen, l.owned = n.State != "dead", n.Owned
		}
	}
	if seen {
		l.gone = 0
	} else {
		l.gone = max(l.gone, 1)
	}
}

// over reports whether the outcome is known.
func (l *leaving) over() bool {
	return l.state == died || l.state == left && (l.owned == 0 || l.late >= verdictSeconds)
}

// second takes in what comes every second.
func (l *leaving) second(nodes *admin.NodesDocument) {
	if l.state == left {
		l.late++
		return
	}
	for _, n := range nodes.Nodes {
		if string(n.ID) == l.node.ID && n.Incarnation == l.node.Incarnation && n.Reached {
			l.conns = n.Conns
		}
	}
	if l.gone == 0 {
		return
	}
	if l.gone++; l.gone <= verdictSeconds {
		return
	}
	if l.state = left; l.owned > 0 {
		l.state, l.why = died, "it is gone and owned "+plural(l.owned, "partition")
	}
}

// feed takes in what is said of how it went.
func (l *leaving) feed(e *admin.FeedEvent) {
	if string(e.Node) != l.node.ID || e.At < l.since {
		return
	}
	switch e.Kind {
	case admin.FeedLeft:
		l.state = left
	case admin.FeedDeath, admin.FeedForgotten:
		l.state, l.why = died, printable(e.Reason)
	}
}

// progress is a line on how far it is.
func (l *leaving) progress() string {
	if l.node.Role != "shard" {
		return fmt.Sprintf("%s: %s left", printable(l.node.ID), plural(l.conns, "client"))
	}
	return fmt.Sprintf("%s: %d of %s handed over, %s under way", printable(l.node.ID), max(l.node.Owned-l.owned, 0),
		plural(l.node.Owned, "partition"), plural(l.moves, "move"))
}
