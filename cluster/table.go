package cluster

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
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
	print uint64
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
	return &Table{Head: head, rows: rows, print: fingerprint(rows)}
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

// ErrHole says that a Delta does not begin where the Table ends, or does not lead where it says:
// the Table has to be fetched whole.
var ErrHole = errors.New("delta does not fit the table")

// Since returns what changed from old, a Table of the same instance and size.
func (t *Table) Since(old *Table) Delta {
	d := Delta{From: old.Mark(), Head: t.Head, Print: t.print}
	for p := range t.rows {
		if !t.rows[p].Equal(old.rows[p]) {
			d.Rows = append(d.Rows, DeltaRow{proto.Partition(p), t.rows[p]})
		}
	}
	return d
}

// Apply returns the Table that the Delta leads to. It fails with ErrHole, and t is never changed,
// if the Delta begins elsewhere, belongs to another instance, takes a term back, or does not give
// what it promises.
func (t *Table) Apply(d *Delta) (*Table, error) {
	if d.Head.Instance != t.Instance || d.From != t.Mark() || d.Head.Version <= t.Version {
		return nil, fmt.Errorf("apply delta from version %d to a table of version %d: %w", d.From.Version, t.Version, ErrHole)
	}
	rows := slices.Clone(t.rows)
	for _, r := range d.Rows {
		if int(r.Partition) >= len(rows) || r.Row.Term <= rows[r.Partition].Term {
			return nil, fmt.Errorf("apply delta to version %d: partition %d: %w", d.Head.Version, r.Partition, ErrHole)
		}
		rows[r.Partition] = r.Row
	}
	next := NewTable(d.Head, rows)
	if next.print != d.Print {
		return nil, fmt.Errorf("apply delta to version %d: another fingerprint: %w", d.Head.Version, ErrHole)
	}
	return next, nil
}

// fingerprint hashes, per partition in order: partition(2), the owner's incarnation(8), how many
// followers(1) and the incarnation(8) of each, term(8); all big-endian, no owner is 0.
func fingerprint(rows []Row) uint64 {
	var digest xxhash.Digest
	digest.Reset()
	b := make([]byte, 0, 64)
	for p, r := range rows {
		b = binary.BigEndian.AppendUint16(b[:0], uint16(p))
		b = binary.BigEndian.AppendUint64(b, uint64(r.Owner.Incarnation()))
		b = append(b, byte(len(r.Followers)))
		for _, f := range r.Followers {
			b = binary.BigEndian.AppendUint64(b, uint64(f.Incarnation()))
		}
		b = binary.BigEndian.AppendUint64(b, uint64(r.Term))
		digest.Write(b)
	}
	return digest.Sum64()
}
