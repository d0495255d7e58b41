package feed

import (
	"fmt"
	"slices"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

const settledReason = "every partition is where it should be, with all its copies"

// none is the list of no partitions; nothing is ever appended to it.
var none = []proto.Partition{}

// young is how many commits a cluster's register has at most for its founding
// to be news to who learns the Table.
const young = 16

// Diff returns what happened between two States of which the second is later,
// in an order in which it can have happened. Partitions that go the same way are
// one event. The events have no Seq yet.
//
// Several changes may lie between the two: then it tells what they come to.
func Diff(before, after *State, now time.Time) []admin.FeedEvent {
	d := &diff{before: before, after: after, at: now.UnixMilli()}
	d.register()
	d.nodes()
	d.partitions()
	if before.Settled != after.Settled {
		if after.Settled {
			d.tell(admin.FeedEvent{Kind: admin.FeedSettled, Reason: settledReason})
		} else {
			d.tell(admin.FeedEvent{Kind: admin.FeedUnsettled, Reason: d.unsettled()})
		}
	}
	return d.events
}

// diff is a Diff in the making.
type diff struct {
	before, after *State
	at            int64
	events        []admin.FeedEvent
	groups        map[group]int // of events about partitions: where they are in events
}

// tell adds an event.
func (d *diff) tell(e admin.FeedEvent) {
	e.At = d.at
	if e.Some == nil { // JSON would show null
		e.Some = none
	}
	d.events = append(d.events, e)
}

// about adds an event about a node.
func (d *diff) about(kind string, name proto.NodeName, reason string) {
	d.tell(admin.FeedEvent{Kind: kind, Node: name.ID(), Reason: reason})
}

// register tells what became of the register: who leads and keeps it.
func (d *diff) register() {
	was, is := d.before.Table, d.after.Table
	switch {
	case is == nil:
	case was == nil:
		if uint32(is.Version) <= young {
			d.tell(admin.FeedEvent{Kind: admin.FeedFounded, Reason: "the cluster " + is.Instance.String() + " was founded"})
		}
	case was.Founding() != is.Founding():
		d.tell(admin.FeedEvent{Kind: admin.FeedFounded, Reason: fmt.Sprintf("the cluster was founded anew, in generation %d", is.Founding().Generation)})
	}
	if d.before.Leader != d.after.Leader {
		d.tell(admin.FeedEvent{Kind: admin.FeedLeader, Node: d.after.Leader.ID(), From: d.before.Leader.ID(), To: d.after.Leader.ID(), Reason: d.after.leads()})
	}
	if was != nil && is != nil && !slices.Equal(was.Voters, is.Voters) {
		d.tell(admin.FeedEvent{Kind: admin.FeedVoters, Reason: "the voters are " + list(is.Voters)})
	}
}

// nodes tells who came, went and changed.
func (d *diff) nodes() {
	d.forgotten()
	for _, n := range d.before.nodes() {
		if _, seen := d.after.node(n.Name); !seen && n.Lives() && !d.after.forgot(n.Name) {
			n.State = cluster.Dead
			d.changed(cluster.Alive, &n)
		}
	}
	for i := range d.after.nodes() {
		n := &d.after.nodes()[i]
		was, known := d.before.node(n.Name)
		switch {
		case known:
			d.changed(was.State, n)
		case n.Lives():
			d.about(admin.FeedJoin, n.Name, arrival(d.before, n))
			if n.State == cluster.Draining {
				d.changed(cluster.Alive, n)
			}
		}
	}
}

// forgotten tells whom an operator called dead.
func (d *diff) forgotten() {
	if d.before.Table == nil || d.after.Table == nil {
		return
	}
	for _, name := range d.after.Table.Forgotten {
		if !d.before.forgot(name) {
			d.about(admin.FeedForgotten, name, d.after.death(name))
		}
	}
}

func (d *diff) changed(was cluster.State, n *cluster.Node) {
	switch {
	case n.State == was:
	case n.State == cluster.Dead && d.after.left(n):
		d.about(admin.FeedLeft, n.Name, "it said that it leaves for good")
	case n.State == cluster.Dead && d.after.forgot(n.Name):
		// that was told
	case n.State == cluster.Dead:
		d.about(admin.FeedDeath, n.Name, d.after.death(n.Name))
	case n.State == cluster.Draining:
		d.about(admin.FeedDrain, n.Name, "it is about to leave, and is given nothing new")
	case was == cluster.Dead, n.State == cluster.Alive:
		d.about(admin.FeedBack, n.Name, "it is heard of again")
	case n.State == cluster.Suspect:
		d.about(admin.FeedSuspect, n.Name, "there is no link to it any more; gossip has not judged yet")
	}
}

// unsettled says why not all is as it should be any more: of what can be seen
// the first.
func (d *diff) unsettled() string {
	for i := range d.after.nodes() {
		switch n := &d.after.nodes()[i]; {
		case n.State == cluster.Suspect:
			return string(n.ID()) + " is suspect"
		case n.State == cluster.Draining && n.Role == proto.RoleShard:
			return string(n.ID()) + " drains"
		}
	}
	t := d.after.Table
	if t == nil {
		return "the table is not known"
	}
	for _, n := range d.before.nodes() {
		owned, following := t.Has(n.Name)
		if owned+following > 0 && !d.after.lives(n.Name) {
			return string(n.ID()) + " is dead, and had copies"
		}
	}
	for i := range d.after.nodes() {
		n := &d.after.nodes()[i]
		owned, following := t.Has(n.Name)
		if n.LiveShard() && owned+following == 0 {
			return string(n.ID()) + " should have copies, and has none"
		}
	}
	return "copies are not where they should be"
}
