package cluster

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

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

	rows  []Row // by partition
	named census
	text  []byte // of the rows
	print uint64 // of the text
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

// NewTable makes a Table of rows, which it keeps: they must not be changed any more.
func NewTable(head Head, rows []Row) *Table {
	return tableOf(head, rows, count(rows), text(rows))
}

func tableOf(head Head, rows []Row, named census, text []byte) *Table {
	return &Table{Head: head, rows: rows, named: named, text: text, print: xxhash.Sum64(text)}
}

// with returns a Table with other rows: as many, and those that differ have other terms.
func (t *Table) with(head Head, rows []Row, named census) *Table {
	return tableOf(head, rows, named, t.retext(rows))
}

// census is how many partitions each node owns and follows. Nodes that do neither are not in it; those
// without an owner are counted for "".
type census map[proto.NodeName]tally

type tally struct{ owned, following int }

func count(rows []Row) census {
	c := make(census)
	for i := range rows {
		c.add(&rows[i], 1)
	}
	return c
}

// add counts a row in (by 1) or out (by -1).
func (c census) add(r *Row, by int) {
	c.change(r.Owner, tally{owned: by})
	for _, f := range r.Followers {
		c.change(f, tally{following: by})
	}
}

func (c census) change(name proto.NodeName, by tally) {
	is := c[name]
	is.owned += by.owned
	is.following += by.following
	if is == (tally{}) {
		delete(c, name)
		return
	}
	c[name] = is
}

// recount is the census of rows, which differ from the Table's by the changes.
func (t *Table) recount(rows []Row, changes []plan.Change) census {
	c, done := maps.Clone(t.named), make(map[proto.Partition]bool, len(changes))
	for i := range changes {
		if p := changes[i].Partition; !done[p] {
			done[p] = true
			c.add(&t.rows[p], -1)
			c.add(&rows[p], 1)
		}
	}
	return c
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

// Partitions returns the number of rows.
func (t *Table) Partitions() int { return len(t.rows) }

// Row returns what the Table says about p, which must be below Partitions.
func (t *Table) Row(p proto.Partition) Row { return t.rows[p] }

// Rows returns all rows by partition. The slice must not be changed.
func (t *Table) Rows() []Row { return t.rows }

// Fingerprint is 16 hex digits that are the same on two nodes if their rows are.
func (t *Table) Fingerprint() string { return fmt.Sprintf("%016x", t.print) }

// Delta is what changed between two Tables.
type Delta struct {
	From  Mark
	Head  Head // of the Table that it leads to
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
	for p := range t.rows {
		if t.rows[p].Term != old.rows[p].Term { // rows that differ have other terms
			d.Rows = append(d.Rows, DeltaRow{proto.Partition(p), t.rows[p]})
		}
	}
	return d
}

// Apply returns the Table that the Delta leads to. It fails with ErrHole, and t is never changed,
// if the Delta begins elsewhere, belongs to another instance, takes a term back, or does not give
// what it promises.
func (t *Table) Apply(d *Delta) (*Table, error) {
	if d.Head.Instance != t.Instance || d.From != t.Mark() || d.Head.Version <= t.Version || !fit(d.Head.Moves, len(t.rows)) {
		return nil, fmt.Errorf("apply delta from version %d to a table of version %d: %w", d.From.Version, t.Version, ErrHole)
	}
	rows, named := slices.Clone(t.rows), maps.Clone(t.named)
	for i := range d.Rows {
		r := &d.Rows[i]
		if int(r.Partition) >= len(rows) || r.Row.Term <= rows[r.Partition].Term {
			return nil, fmt.Errorf("apply delta to version %d: partition %d: %w", d.Head.Version, r.Partition, ErrHole)
		}
		named.add(&rows[r.Partition], -1)
		named.add(&r.Row, 1)
		rows[r.Partition] = r.Row
	}
	next := t.with(d.Head, rows, named)
	if next.print != d.Print {
		return nil, fmt.Errorf("apply delta to version %d: another fingerprint: %w", d.Head.Version, ErrHole)
	}
	return next, nil
}

// text is what the fingerprint is the hash of, per partition in order: partition(2), the owner's
// incarnation(8), how many followers(1) and the incarnation(8) of each, term(8); all big-endian, no
// owner is 0.
func text(rows []Row) []byte {
	b := make([]byte, 0, len(rows)*(textSize+8))
	for p := range rows {
		b = appendRowText(b, proto.Partition(p), &rows[p])
	}
	return b
}

// textSize is what a row without followers takes.
const textSize = 2 + 8 + 1 + 8

func appendRowText(b []byte, p proto.Partition, r *Row) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(p))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Owner.Incarnation()))
	b = append(b, byte(len(r.Followers)))
	for _, f := range r.Followers {
		b = binary.BigEndian.AppendUint64(b, uint64(f.Incarnation()))
	}
	return binary.BigEndian.AppendUint64(b, uint64(r.Term))
}

// retext is the text of rows that are the Table's but for some, whose terms differ: most of it is copied,
// because a Table changes often and little.
func (t *Table) retext(rows []Row) []byte {
	b := make([]byte, 0, len(t.text)+256)
	from, to := 0, 0 // of the Table's text, what is to be copied
	for p := range rows {
		size := textSize + 8*len(t.rows[p].Followers)
		if rows[p].Term != t.rows[p].Term {
			b = append(b, t.text[from:to]...)
			b = appendRowText(b, proto.Partition(p), &rows[p])
			from = to + size
		}
		to += size
	}
	return append(b, t.text[from:]...)
}
