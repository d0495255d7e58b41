package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Row is what the Table says about one partition.
type Row = plan.Row

// Table is where each partition does live: the only truth about owners, and all that the register
// keeps. It is immutable.
//
// Invariant: of one founding there is one Table per Version, and a higher Version is newer. So
// whoever has a copy may take any other copy with a higher Version in its place.
type Table struct {
	Head

	rows  plan.Rows
	named census
	print uint64 // of the rows
}

// Head is what a Table says beside its rows. Its slices are never changed in place.
type Head struct {
	Instance proto.Instance // the cluster that it belongs to, never zero

	// Version counts what the register committed, from 1, in its lower half; its upper half is
	// the generation, like that of a Term.
	Version uint64

	Settings  plan.Settings
	Voters    []proto.NodeName // who keeps the register, by the names under which they vote; sorted
	Moves     []plan.Move      // planned hand-offs under way, by partition
	Addresses []Address        // of the nodes that rows name, sorted by name
	Forgotten []proto.NodeName // runs that an operator called dead, while a row names them; sorted
}

// Founding is which founding of which cluster the Table belongs to.
func (h *Head) Founding() proto.Founding {
	return proto.Founding{Instance: h.Instance, Generation: uint32(h.Version >> 32)}
}

// Address returns where the run of a node accepted links, "" if that is not known.
func (h *Head) Address(name proto.NodeName) string {
	at, ok := slices.BinarySearchFunc(h.Addresses, name, func(a Address, name proto.NodeName) int {
		return cmp.Compare(a.Name, name)
	})
	if !ok {
		return ""
	}
	return h.Addresses[at].Link
}

// NewTable makes a Table of rows, by partition.
func NewTable(head Head, rows []Row) *Table {
	return tableOf(head, plan.MakeRows(rows), count(rows))
}

func tableOf(head Head, rows plan.Rows, named census) *Table {
	return &Table{Head: head, rows: rows, named: named, print: rows.Fingerprint()}
}

// census is how many partitions each node owns and follows. Nodes that do neither are not in it; those
// without an owner are counted for "".
type census map[proto.NodeName]tally

// tally is one node's: alone are those that it owns and that nobody follows.
type tally struct{ owned, following, alone int }

func count(rows []Row) census {
	c := make(census)
	for i := range rows {
		c.add(&rows[i], 1)
	}
	return c
}

// add counts a row in (by 1) or out (by -1).
func (c census) add(r *Row, by int) {
	owns := tally{owned: by}
	if len(r.Followers) == 0 {
		owns.alone = by
	}
	c.change(r.Owner, owns)
	for _, f := range r.Followers {
		c.change(f, tally{following: by})
	}
}

func (c census) change(name proto.NodeName, by tally) {
	is := c[name]
	is.owned += by.owned
	is.following += by.following
	is.alone += by.alone
	if is == (tally{}) {
		delete(c, name)
		return
	}
	c[name] = is
}

// with returns the Table with other rows, which differ by the changes.
func (t *Table) with(head Head, rows plan.Rows, changes []plan.Change) *Table {
	c, done := maps.Clone(t.named), make(map[proto.Partition]bool, len(changes))
	for i := range changes {
		if p := changes[i].Partition; !done[p] {
			done[p] = true
			c.add(t.rows.At(p), -1)
			c.add(rows.At(p), 1)
		}
	}
	return tableOf(head, rows, c)
}

// names reports whether a row names the node.
func (c census) names(name proto.NodeName) bool { _, ok := c[name]; return ok && name != "" }

// Names reports whether a row names the node, or a move is to bring it something.
func (t *Table) Names(name proto.NodeName) bool {
	return t.named.names(name) || slices.ContainsFunc(t.Moves, func(m plan.Move) bool { return m.To == name })
}

// Move returns the partition's move, the zero Move if it has none.
func (t *Table) Move(p proto.Partition) plan.Move {
	at, ok := slices.BinarySearchFunc(t.Moves, p, func(m plan.Move, p proto.Partition) int { return cmp.Compare(m.Partition, p) })
	if !ok {
		return plan.Move{}
	}
	return t.Moves[at]
}

// Alone returns how many partitions have an owner other than the node, or none, and nobody who follows.
func (t *Table) Alone(except proto.NodeName) (n int) {
	for name, has := range t.named {
		if name != except {
			n += has.alone
		}
	}
	return n
}

// Ownerless reports whether a partition has no owner, or one of which lives is false.
func (t *Table) Ownerless(lives func(proto.NodeName) bool) bool {
	for name, has := range t.named {
		if has.owned > 0 && (name == "" || !lives(name)) {
			return true
		}
	}
	return false
}

// Has returns how many partitions the node owns, and how many it follows.
func (t *Table) Has(name proto.NodeName) (owned, following int) {
	has := t.named[name]
	return has.owned, has.following
}

// Partitions returns the number of rows.
func (t *Table) Partitions() int { return t.rows.Len() }

// Row returns what the Table says about p, which must be below Partitions.
func (t *Table) Row(p proto.Partition) Row { return *t.rows.At(p) }

// Rows are all rows by partition.
func (t *Table) Rows() iter.Seq2[proto.Partition, Row] {
	return func(yield func(proto.Partition, Row) bool) {
		t.rows.All()(func(p proto.Partition, row *Row) bool { return yield(p, *row) })
	}
}

// WhatIf forecasts what the coordinator would bring about from here with these shards: see plan.WhatIf.
func (t *Table) WhatIf(shards []plan.Shard) plan.Forecast {
	return plan.WhatIf(t.rows, t.Settings, shards)
}

// News are the partitions whose row or move is another one than in a Table before, which may be nil; they
// ascend. Where little has changed they cost little: a cluster that moves things has hundreds of Tables,
// each a few rows apart.
func (t *Table) News(before *Table) []proto.Partition {
	if before == nil {
		before = &Table{}
	}
	news := slices.Collect(t.rows.Changed(before.rows))
	for _, list := range [][]plan.Move{before.Moves, t.Moves} {
		for _, m := range list {
			if before.Move(m.Partition) != t.Move(m.Partition) {
				news = append(news, m.Partition)
			}
		}
	}
	slices.Sort(news)
	return slices.Compact(news)
}

// Fingerprint is 16 hex digits that are the same on two nodes if their rows are.
func (t *Table) Fingerprint() string { return fmt.Sprintf("%016x", t.print) }

// Delta is what changed between two Tables.
type Delta struct {
	From  Mark
	Head  Head // of the Table that it leads to; but of its Addresses only those that are new
	Print uint64
	Rows  []DeltaRow // by partition, ascending
}

// DeltaRow is one changed row.
type DeltaRow struct {
	Partition proto.Partition
	Row       Row
}

// Mark identifies a Table of a founding. Its Version would be enough; the fingerprint shows that both
// sides mean the same by it. The zero Mark stands for having none.
type Mark struct {
	Version     uint64
	Fingerprint uint64
}

// Mark returns the Table's; a nil Table has the zero Mark.
func (t *Table) Mark() Mark {
	if t == nil {
		return Mark{}
	}
	return Mark{t.Version, t.print}
}

// fit reports whether the moves are those of a Table with so many rows.
func fit(moves []plan.Move, rows int) bool {
	for i, m := range moves {
		if int(m.Partition) >= rows || i > 0 && m.Partition <= moves[i-1].Partition || m.State != plan.Learning && m.State != plan.Freezing {
			return false
		}
	}
	return true
}

// ErrHole says that a Delta does not begin where the Table ends, or does not lead where it says:
// the Table has to be fetched whole.
var ErrHole = errors.New("delta does not fit the table")

// Since returns what changed from old, a Table of the same instance and size.
func (t *Table) Since(old *Table) Delta {
	d := Delta{From: old.Mark(), Head: t.Head, Print: t.print}
	d.Head.Addresses = fresh(old.Addresses, t.Addresses)
	for p := range t.rows.Changed(old.rows) {
		d.Rows = append(d.Rows, DeltaRow{p, t.Row(p)})
	}
	return d
}

// Apply returns the Table that the Delta leads to. It fails with ErrHole, and t is never changed,
// if the Delta begins elsewhere, belongs to another instance, takes a term back, or does not give
// what it promises.
func (t *Table) Apply(d *Delta) (*Table, error) {
	if d.Head.Instance != t.Instance || d.From != t.Mark() || d.Head.Version <= t.Version || !fit(d.Head.Moves, t.Partitions()) {
		return nil, fmt.Errorf("apply delta from version %d to a table of version %d: %w", d.From.Version, t.Version, ErrHole)
	}
	changes := make([]plan.Change, len(d.Rows))
	for i := range d.Rows {
		r := &d.Rows[i]
		changes[i] = plan.Change{Partition: r.Partition, Row: r.Row}
		if int(r.Partition) < t.Partitions() {
			changes[i].Replaces = t.rows.At(r.Partition).Term
		}
	}
	rows, err := t.rows.Apply(changes)
	if err != nil {
		return nil, fmt.Errorf("apply delta to version %d: %w: %w", d.Head.Version, ErrHole, err)
	}
	next := t.with(d.Head, rows, changes)
	if next.print != d.Print {
		return nil, fmt.Errorf("apply delta to version %d: another fingerprint: %w", d.Head.Version, ErrHole)
	}
	next.Addresses = addresses(next.named, t.Addresses, d.Head.Addresses)
	return next, nil
}

// fresh are the addresses that old does not have; both are sorted. A Table has those of all nodes that its rows
// name, which the rows tell who has the others.
func fresh(old, now []Address) (list []Address) {
	for _, a := range now {
		for len(old) > 0 && old[0].Name < a.Name {
			old = old[1:]
		}
		if len(old) == 0 || old[0] != a {
			list = append(list, a)
		}
	}
	return list
}
