package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Row is what the Table says about one partition.
type Row = plan.Row

// Table is where each partition does live: the only truth about owners. It is immutable.
//
// Invariant: two Tables with the same Fingerprint say the same. Versions order the Tables of one
// coordinator; two coordinators may have used one version for different Tables, which is why nodes
// compare both.
type Table struct {
	Instance proto.Instance // the cluster that it belongs to, never zero
	Version  uint64         // counts what coordinators published, from 1

	rows  []Row // by partition
	print uint64
}

// NewTable makes a Table of rows, which it keeps: they must not be changed any more.
func NewTable(instance proto.Instance, version uint64, rows []Row) *Table {
	return &Table{Instance: instance, Version: version, rows: rows, print: fingerprint(rows)}
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
	Instance proto.Instance
	From, To Mark
	Rows     []DeltaRow // by partition, ascending
}

// DeltaRow is one changed row.
type DeltaRow struct {
	Partition proto.Partition
	Row       Row
}

// Mark identifies what a Table says: a version alone does not, because two coordinators may have
// used it. The zero Mark stands for having none.
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
	d := Delta{Instance: t.Instance, From: old.Mark(), To: t.Mark()}
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
	if d.Instance != t.Instance || d.From != t.Mark() {
		return nil, fmt.Errorf("apply delta from version %d to a table of version %d: %w", d.From.Version, t.Version, ErrHole)
	}
	rows := append([]Row(nil), t.rows...)
	for _, r := range d.Rows {
		if int(r.Partition) >= len(rows) || r.Row.Term <= rows[r.Partition].Term {
			return nil, fmt.Errorf("apply delta to version %d: partition %d: %w", d.To.Version, r.Partition, ErrHole)
		}
		rows[r.Partition] = r.Row
	}
	next := NewTable(t.Instance, d.To.Version, rows)
	if next.Mark() != d.To {
		return nil, fmt.Errorf("apply delta to version %d: another fingerprint: %w", d.To.Version, ErrHole)
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
