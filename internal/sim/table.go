package sim

import (
	"slices"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// table stands in for the coordinator: it decides with package plan, from what
// it believes of the shards, and its decisions reach each node late, at another
// time, or not at all until that node asks.
type table struct {
	w     *World
	rows  []plan.Row
	alive []*shard // as the coordinator sees it
	torn  []bool   // partitions that had two owners in one term

	changes int // so many were made
}

// knowledge is what a node knows of the Table.
type knowledge struct {
	rows   []plan.Row
	deaf   time.Duration // nothing new reaches it before
	asking bool
}

// take reports whether a row is news. Of two rows of one term, which two
// coordinators may have made, the last one counts.
func (k *knowledge) take(p proto.Partition, row plan.Row) bool {
	if row.Term < k.rows[p].Term || row.Equal(k.rows[p]) {
		return false
	}
	k.rows[p] = row
	return true
}

// node is a router or a shard.
type node interface {
	learn(p proto.Partition, row plan.Row)
	isAlive() bool
	self() proto.NodeName
	knows() *knowledge
}

func newTable(w *World) *table {
	return &table{w: w, rows: make([]plan.Row, w.shape.partitions), torn: make([]bool, w.shape.partitions)}
}

// nodes are those that live.
func (w *World) nodes() (all []node) {
	for _, s := range w.shards {
		if s.alive {
			all = append(all, s)
		}
	}
	for _, r := range w.routers {
		if r.alive {
			all = append(all, r)
		}
	}
	return all
}

// see is a verdict, which may be wrong.
func (t *table) see(s *shard, alive bool) {
	t.alive = without(t.alive, s)
	if alive && s.alive {
		t.alive = append(t.alive, s)
	}
	t.w.trace("coordinator: %s alive %v", s.name, alive)
	t.decide()
}

// decide gives partitions without an owner to living shards.
func (t *table) decide() {
	verdict := func(n proto.NodeName) plan.Verdict {
		for _, s := range t.alive {
			if s.name == n {
				return plan.Lives
			}
		}
		return plan.Proved
	}
	t.apply(plan.Decide(t.generation(), t.rows, verdict, func(proto.Partition) proto.NodeName { return t.someone("") }))
}

// someone is a shard that is believed to live, another one than not if there is
// any.
func (t *table) someone(not proto.NodeName) proto.NodeName {
	if len(t.alive) == 0 {
		return ""
	}
	i := t.w.rnd.IntN(len(t.alive))
	if t.alive[i].name == not {
		i = (i + 1) % len(t.alive)
	}
	return t.alive[i].name
}

// give changes one row: to another owner, or to a new term of the same.
func (t *table) give(p proto.Partition, owner proto.NodeName) {
	t.apply([]plan.Change{{Partition: p, Replaces: t.rows[p].Term, Row: t.follow(p, owner)}})
}

// follow is the row that comes next if it is the owner's.
func (t *table) follow(p proto.Partition, owner proto.NodeName) plan.Row {
	was := t.rows[p]
	row := plan.Row{Owner: owner, Term: was.Term.In(t.generation()), Since: was.Since}
	if owner != was.Owner {
		row.Since = row.Term
	}
	return row
}

// generation is that of the next change. It rises now and then, as after a
// recovery: terms are compared, and nobody may count on the next one.
func (t *table) generation() uint32 { return uint32(t.changes / 7) }

// split is what two coordinators do who do not hear of each other: they make
// two rows of one term, and some nodes learn of the one, some of the other,
// until one coordinator is left and gives the partition a term above both.
func (t *table) split(p proto.Partition) {
	one := t.follow(p, t.someone(""))
	other, term := t.follow(p, t.someone(one.Owner)), one.Term
	if one.Owner == "" || one.Owner == other.Owner {
		return
	}
	t.w.trace("table: partition %d is %s's and %s's, term %d", p, one.Owner, other.Owner, term)
	t.torn[p] = true
	t.rows = slices.Clone(t.rows)
	t.rows[p] = one
	for _, n := range t.w.nodes() {
		row := one
		if t.w.chance(0.5) {
			row = other
		}
		t.push(n, p, row)
	}
	t.w.after(t.w.between(10*time.Millisecond, 2*time.Second), func() {
		if t.rows[p].Term == term {
			row := t.follow(p, t.someone(""))
			row.Since = row.Term
			t.apply([]plan.Change{{Partition: p, Replaces: term, Row: row}})
		}
	})
}

func (t *table) apply(changes []plan.Change) {
	next, err := plan.Apply(t.rows, changes)
	if err != nil {
		t.w.fail("plan: %v", err)
	}
	t.rows = next
	t.changes += len(changes)
	for _, c := range changes {
		t.w.trace("table: partition %d is %s's, term %d", c.Partition, c.Row.Owner, c.Row.Term)
		for _, n := range t.w.nodes() {
			if t.w.calm || !t.w.chance(0.1) { // else it is lost
				t.push(n, c.Partition, c.Row)
			}
		}
	}
}

// push brings a row to a node, some time.
func (t *table) push(n node, p proto.Partition, row plan.Row) {
	late := t.w.between(200*time.Microsecond, 200*time.Millisecond)
	t.w.after(max(late, n.knows().deaf-t.w.now), func() { t.learn(n, p, row) })
}

func (t *table) learn(n node, p proto.Partition, row plan.Row) {
	if was := n.knows().rows[p]; n.isAlive() && row.Term >= was.Term && !row.Equal(was) {
		t.w.trace("%s learns: partition %d is %s's, term %d", n.self(), p, row.Owner, row.Term)
		n.learn(p, row)
	}
}

// tell brings a node that has just started the whole Table, and again what it
// may have missed, twice a second.
func (t *table) tell(n node) {
	if !n.isAlive() {
		return
	}
	for p, row := range t.rows {
		if row.Term > n.knows().rows[p].Term {
			t.push(n, proto.Partition(p), row)
		}
	}
	if !t.w.calm || len(t.w.clients) > 0 {
		t.w.after(500*time.Millisecond, func() { t.tell(n) })
	}
}

// fetch is a node's question for the Table.
func (t *table) fetch(n node) {
	k := n.knows()
	if k.asking {
		return
	}
	k.asking = true
	t.w.after(max(t.w.between(time.Millisecond, 100*time.Millisecond), k.deaf-t.w.now), func() {
		k.asking = false
		for p, row := range t.rows {
			t.learn(n, proto.Partition(p), row)
		}
	})
}
