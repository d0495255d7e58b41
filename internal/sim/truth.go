package sim

import (
	"fmt"
	"slices"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// change is what happens to a row of the Table.
type change uint8

const (
	changeFirst   change = iota // the first owner
	changeReset                 // all copies are dead: a new log begins
	changePromote               // a follower takes over from a lost owner
	changeHandOff               // a follower takes over from a living one
	changeAdd                   // a follower more
	changeDrop                  // one less
	changeRenew                 // the same in a new term
	changeKinds
)

func (c change) String() string {
	return [...]string{"first", "reset", "promote", "hand-off", "add", "drop", "renew"}[c]
}

// copies are the nodes that a row names.
func copies(r plan.Row) []proto.NodeName {
	if r.Owner == "" {
		return nil
	}
	return append([]proto.NodeName{r.Owner}, r.Followers...)
}

// founded takes the first Table of a founding: a recovery goes on from the newest
// copy of the one before.
func (g *ledger) founded(n *node, t *cluster.Table) {
	for p := range t.Rows() {
		was := plan.Row{}
		if n.table != nil {
			was = n.table.Row(p)
		}
		g.change(p, was, t.Row(p))
	}
}

// committed takes what a command made of the Table.
func (g *ledger) committed(was, next *cluster.Table, c *cluster.Command) {
	for _, name := range c.Forget {
		g.forgotten[name] = true
	}
	for p := range next.Rows() {
		if a, b := was.Row(p), next.Row(p); a.Term != b.Term {
			g.change(p, a, b)
		}
		x, y := rowOf(was, p), rowOf(next, p)
		if x.Learner != y.Learner || x.Freezing != y.Freezing {
			g.w.Trace("table: partition %d is %s", p, showRow(&y))
		}
		if y.Freezing && !x.Freezing {
			g.w.spring(&g.w.ambush.frozen, p)
		}
	}
}

// change holds one change of a row against the rules.
func (g *ledger) change(p proto.Partition, was, row plan.Row) {
	w := g.w
	w.Trace("table: partition %d is %s's with %v, term %d since %d", p, row.Owner, row.Followers, row.Term, row.Since)
	key := rowKey{p, row.Term}
	if old, known := g.rows[key]; known && !old.Equal(row) {
		w.Fail("partition %d has two rows of term %d: %+v and %+v", p, row.Term, old, row)
	}
	g.rows[key] = row
	if row.Term <= was.Term && row.Term != 0 {
		w.Fail("partition %d goes from term %d to %d", p, was.Term, row.Term)
	}
	kind := g.kindOf(was, row)
	w.report.Changes[kind]++
	switch kind {
	case changeReset:
		for _, name := range copies(was) {
			if w.byName[name].alive && !g.forgotten[name] {
				w.Fail("partition %d begins anew at %s, but %s has a copy and lives", p, row.Owner, name)
			}
		}
	case changePromote, changeHandOff, changeAdd, changeDrop, changeRenew:
		g.kept(p, was, row)
	}
}

func (g *ledger) kindOf(was, row plan.Row) change {
	switch {
	case was.Owner == "":
		return changeFirst
	case was.Since != row.Since:
		return changeReset
	case was.Owner != row.Owner && !g.w.byName[was.Owner].alive:
		return changePromote
	case was.Owner != row.Owner:
		return changeHandOff
	case len(row.Followers) > len(was.Followers):
		return changeAdd
	case len(row.Followers) < len(was.Followers):
		return changeDrop
	}
	return changeRenew
}

// kept: whom the row names has a copy: it was named before, or its owner asked for
// it.
func (g *ledger) kept(p proto.Partition, was, row plan.Row) {
	had := copies(was)
	for _, name := range copies(row) {
		if !slices.Contains(had, name) && g.asked[rowKey{p, was.Term}] != name {
			g.w.Fail("partition %d: %s is named in term %d, and has no copy", p, name, row.Term)
		}
	}
	if !slices.Contains(had, row.Owner) {
		g.w.Fail("partition %d: %s is the owner in term %d, and was not in sync", p, row.Owner, row.Term)
	}
}

// refounds judges a recovery in the moment of the decision. No operator asks for one
// here, so the only voter is dead, and no later run that a link shows has its log.
func (g *ledger) refounds(n *node) {
	for _, h := range g.w.hosts {
		x := &h.seat
		if h.now != nil && n.first[h.now.name] != nil && x.founding == n.table.Founding() && slices.Equal(n.table.Voters, []proto.NodeName{x.voter}) {
			g.w.Fail("%s founds the cluster anew, but %s votes alone and has a link to it", n.name, h.now.name)
		}
	}
}

// decided judges a command in the moment of the decision: nothing happens to a row
// without a cause.
func (g *ledger) decided(leader *node, c *cluster.Command) {
	for _, x := range c.Changes {
		g.caused(leader, x.Partition, leader.keeper.Table().Row(x.Partition), x.Row)
	}
}

// caused: the owner has wished it, or the coordinator has no link to it, or an
// operator has called it dead, whatever a link that nobody misses yet says; or there
// were more followers than are wanted, or a move ends.
func (g *ledger) caused(leader *node, p proto.Partition, was, row plan.Row) {
	kind := g.kindOf(was, row)
	switch {
	case kind == changeFirst || kind == changeReset:
	case leader.name != was.Owner && leader.first[was.Owner] == nil:
	case slices.Contains(leader.keeper.Table().Forgotten, was.Owner):
	case g.wishes[rowKey{p, was.Term}] != 0:
	case kind == changeDrop && len(was.Followers) > min(g.w.shape.followers, leader.within()-1):
	case kind == changeRenew && leader.keeper.Table().Move(p).State != 0:
	default:
		g.w.Fail("partition %d: %v without a cause: %+v becomes %+v at %s", p, kind, was, row, leader.name)
	}
}

// within counts the shards on the leader's Ring that it reaches: those that drain
// are not.
func (n *node) within() (count int) {
	for _, name := range n.keeper.Ring().Shards() {
		if name == n.name || n.first[name] != nil {
			count++
		}
	}
	return count
}

// wished notes what owners wish.
func (g *ledger) wished(n *node, x *proto.Wish) {
	key := rowKey{x.Partition, x.Term}
	if g.wishes[key]&(1<<x.Kind) == 0 {
		g.w.report.Wishes[x.Kind]++
		g.w.Trace("%s wishes: partition %d term %d %v %s", n.name, x.Partition, x.Term, x.Kind, x.Node)
	}
	g.wishes[key] |= 1 << x.Kind
	if x.Kind == proto.WishAdd {
		g.asked[key] = x.Node
	}
}

// pledged notes what a node promises.
func (g *ledger) pledged(n *node, answers []proto.Promise) {
	for _, x := range answers {
		if key := (pledge{n.name, x.Partition}); x.Status == proto.Promised {
			g.promised[key] = max(g.promised[key], x.Term)
		}
	}
}

// stored: rule R2. Who has promised a term stores nothing below it any more. A
// directed schedule shows what comes of it if he does.
func (g *ledger) stored(n *node, body []byte) {
	x, err := proto.ParseStored(body)
	if promised := g.promised[pledge{n.name, x.Partition}]; err == nil && x.Term < promised && g.w.opt.Directed == 0 {
		g.w.Fail("%s has stored entries of partition %d in term %d, though it promised %d", n.name, x.Partition, x.Term, promised)
	}
}

func showRow(r *partition.Row) string {
	s := fmt.Sprintf("%s's with %v, term %d", r.Owner, r.Followers, r.Term)
	if r.Learner != "" {
		s += fmt.Sprintf(", for %s freezing %v", r.Learner, r.Freezing)
	}
	return s
}
