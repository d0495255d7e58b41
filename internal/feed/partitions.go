package feed

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// maxSome is how many partitions an event names.
const maxSome = 8

// group is what events about partitions are gathered by.
type group struct {
	kind     string
	from, to proto.NodeID
}

// partitions tells what became of rows. Of a Table that is the first one, or of
// another cluster, there is nothing to compare.
func (d *diff) partitions() {
	was, is := d.before.Table, d.after.Table
	if was == nil || is == nil || was.Instance != is.Instance || was.Partitions() != is.Partitions() {
		return
	}
	d.groups = map[group]int{}
	first := len(d.events)
	d.single()
	if was != is {
		for _, p := range is.News(was) {
			d.row(p, was.Row(p), is.Row(p))
		}
	}
	slices.SortStableFunc(d.events[first:], func(a, b admin.FeedEvent) int {
		return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	d.groups = nil
}

// rank orders what is told of partitions at one moment.
func rank(kind string) int {
	return slices.Index([]string{admin.FeedSingle, admin.FeedReset, admin.FeedFailover, admin.FeedHandoff, admin.FeedCopy}, kind)
}

// went counts a partition in that went from one node to another.
func (d *diff) went(kind string, p proto.Partition, from, to proto.NodeName, reason func() string) {
	g := group{kind, from.ID(), to.ID()}
	at, known := d.groups[g]
	if !known {
		at = len(d.events)
		d.groups[g] = at
		d.tell(admin.FeedEvent{Kind: kind, From: g.from, To: g.to, Reason: reason()})
	}
	e := &d.events[at]
	e.Partitions++
	if len(e.Some) < maxSome {
		e.Some = append(e.Some, p) // they come in ascending order
	}
}

// row tells what became of a partition.
func (d *diff) row(p proto.Partition, was, is cluster.Row) {
	switch {
	case is.Owner == "" || was.Since == 0: // its log has just begun: nobody had anything
	case was.Since != is.Since:
		d.went(admin.FeedReset, p, was.Owner, is.Owner, func() string { return d.lost(&was) })
	case was.Owner == is.Owner:
		d.copied(p, &was, &is)
	case d.handedOff(p, &was, &is):
		d.went(admin.FeedHandoff, p, was.Owner, is.Owner, func() string { return d.before.planned(was.Owner) })
	default:
		d.went(admin.FeedFailover, p, was.Owner, is.Owner, func() string {
			return string(was.Owner.ID()) + " is lost: " + d.after.death(was.Owner)
		})
	}
}

// lost says what became of all copies of a partition.
func (d *diff) lost(was *cluster.Row) string {
	if len(was.Followers) == 0 {
		return "it had the only copy: " + d.after.death(was.Owner)
	}
	return "every copy was lost: " + string(was.Owner.ID()) + " and " + list(was.Followers)
}

// handedOff reports whether an owner that lived gave a partition away. Nobody
// follows from the dead: who is still a follower was well. One that left may be
// gone already when the last that it gave away is seen.
func (d *diff) handedOff(p proto.Partition, was, is *cluster.Row) bool {
	if slices.Contains(is.Followers, was.Owner) {
		return true
	}
	then, seenThen := d.before.node(was.Owner)
	now, seenNow := d.after.node(was.Owner)
	m := d.before.Table.Move(p)
	meant := m.From == was.Owner && m.To == is.Owner
	if !seenThen && !seenNow {
		return meant // we know the Table better than who is there
	}
	well := func(n cluster.Node, seen bool) bool {
		return seen && (n.State == cluster.Alive || n.State == cluster.Draining)
	}
	if well(then, seenThen) && well(now, seenNow) {
		return true
	}
	return d.after.left(&now) && (meant || then.State == cluster.Draining)
}

// copied tells who follows a partition anew. What its next owner learns is a part
// of the hand-off.
func (d *diff) copied(p proto.Partition, was, is *cluster.Row) {
	for _, f := range is.Followers {
		if slices.Contains(was.Followers, f) || d.willOwn(p, f) {
			continue
		}
		var from proto.NodeName
		for _, old := range was.Followers {
			if !slices.Contains(is.Followers, old) {
				from = old
			}
		}
		reason := func() string { return "a copy was missing" }
		if from != "" {
			reason = func() string { return d.before.planned(from) }
		}
		d.went(admin.FeedCopy, p, from, f, reason)
	}
}

// willOwn reports whether a partition is on its way to the node.
func (d *diff) willOwn(p proto.Partition, to proto.NodeName) bool {
	then, now := d.before.Table.Move(p), d.after.Table.Move(p)
	return then.From != "" && then.To == to || now.From != "" && now.To == to
}

// single tells which partitions are left with one living copy. Who left did so once others had what it had, or
// when its time was up; its goodbye may be seen before the Table that says so. If it still had copies, those that
// take over are told of.
func (d *diff) single() {
	was, is := d.before.Table, d.after.Table
	look := func(p proto.Partition) {
		then, now := was.Row(p), is.Row(p)
		if d.before.copies(&then) < 2 || d.after.copies(&now) != 1 {
			return
		}
		left := now.Owner
		if !d.after.lives(left) {
			left = now.Followers[slices.IndexFunc(now.Followers, d.after.lives)]
		}
		var gone proto.NodeName
		for _, name := range append([]proto.NodeName{then.Owner}, then.Followers...) {
			if gone == "" && name != left && d.before.lives(name) {
				gone = name
			}
		}
		if n, seen := d.after.node(gone); seen && d.after.left(&n) {
			return
		}
		d.went(admin.FeedSingle, p, gone, left, func() string { return d.why(gone) })
	}
	if d.deaths() {
		for p := range is.Partitions() {
			look(proto.Partition(p))
		}
		return
	}
	if was == is {
		return
	}
	for _, p := range is.News(was) {
		look(p)
	}
}

// why says how a copy was lost.
func (d *diff) why(gone proto.NodeName) string {
	switch {
	case !d.after.lives(gone):
		return string(gone.ID()) + " is lost: " + d.after.death(gone)
	case d.after.Table.Settings.Followers == 0:
		return "no more copies are wanted"
	}
	return string(gone.ID()) + " did not keep up, and follows no more"
}

// deaths reports whether a node that has copies does not live any more.
func (d *diff) deaths() bool {
	if d.before.View == d.after.View {
		return false
	}
	return slices.ContainsFunc(d.before.nodes(), func(n cluster.Node) bool {
		owned, following := d.after.Table.Has(n.Name)
		return n.Lives() && owned+following > 0 && !d.after.lives(n.Name)
	})
}

// copies is how many of the copies that a row names are on nodes that live.
func (s *State) copies(r *cluster.Row) (n int) {
	if s.lives(r.Owner) {
		n++
	}
	for _, f := range r.Followers {
		if s.lives(f) {
			n++
		}
	}
	return n
}
