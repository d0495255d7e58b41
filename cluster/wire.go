package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/roomring/roomring/proto"
)

// The conversation between two nodes, a and b, about the Table. Every frame is a control frame: it
// may overtake others, may be lost with its link, and may come twice.
//
//	a  Table 7          on connect, if a is a shard and b is not known to have as much
//	b  Version 7        twice a second: this is what I hold
//	a  Delta 7 → 8      the coordinator changed something
//	b  TableGet 7       that Delta did not fit, or a's Version was ahead: send it whole
//	a  Table 8
//
// Layouts, big-endian. A row names nodes by their place in a dictionary, so that a full Table of
// 4093 rows is 53 KiB: far below proto.MaxFrame.
//
//	Table     instance(16) version(8) fingerprint(8) dictionary rows(2) rows×{row}
//	Delta     instance(16) version(8) fingerprint(8) version(8) fingerprint(8) dictionary rows(2) rows×{partition(2) row}
//	          the first version and fingerprint are of the Table that it applies to; partitions ascend
//	TableGet  version(8)           what the asker has, 0 for nothing; the answer is a Table
//	Version   instance(16) version(8) fingerprint(8); all zero when the sender has none
//
//	dictionary  nodes(2) nodes×{size(1) name}
//	row         owner(2) term(8) followers(1) followers×{node(2)}; a node is its place in the dictionary from 1, no owner is 0
//
// The fingerprint is that of the Table's rows: a parsed Table that gives another one is refused.

// Errors of the parsers: the sender does not speak this protocol.
var (
	errShort    = errors.New("body too short")
	errTrailing = errors.New("bytes behind the end")
)

// AppendTable appends t as a whole frame.
func AppendTable(b []byte, t *Table) []byte {
	b, start := proto.Begin(b, proto.FrameTable)
	b = append(b, t.Instance[:]...)
	b = appendMark(b, t.Mark())
	dict := make(dictionary)
	for _, r := range t.rows {
		dict.add(r)
	}
	b = dict.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.rows)))
	for _, r := range t.rows {
		b = dict.appendRow(b, r)
	}
	return proto.End(b, start)
}

// ParseTable reads the body of a Table frame.
func ParseTable(body []byte) (*Table, error) {
	r := reader{b: body}
	instance, mark := r.instance(), r.mark()
	names := r.dictionary()
	rows := make([]Row, r.count(rowSize))
	for i := range rows {
		rows[i] = r.row(names)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("parse table: %w", err)
	}
	t := NewTable(instance, mark.Version, rows)
	switch {
	case instance.IsZero() || mark.Version == 0:
		return nil, errors.New("parse table: no instance or version")
	case t.Mark() != mark:
		return nil, fmt.Errorf("parse table: fingerprint %016x, but the rows give %016x", mark.Fingerprint, t.print)
	}
	return t, nil
}

// AppendDelta appends d as a whole frame.
func AppendDelta(b []byte, d *Delta) []byte {
	b, start := proto.Begin(b, proto.FrameDelta)
	b = append(b, d.Instance[:]...)
	b = appendMark(b, d.From)
	b = appendMark(b, d.To)
	dict := make(dictionary)
	for _, r := range d.Rows {
		dict.add(r.Row)
	}
	b = dict.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(d.Rows)))
	for _, r := range d.Rows {
		b = binary.BigEndian.AppendUint16(b, uint16(r.Partition))
		b = dict.appendRow(b, r.Row)
	}
	return proto.End(b, start)
}

// ParseDelta reads the body of a Delta frame.
func ParseDelta(body []byte) (Delta, error) {
	r := reader{b: body}
	d := Delta{Instance: r.instance(), From: r.mark(), To: r.mark()}
	names := r.dictionary()
	d.Rows = make([]DeltaRow, r.count(2+rowSize))
	for i := range d.Rows {
		d.Rows[i] = DeltaRow{proto.Partition(r.u16()), r.row(names)}
		if i > 0 && d.Rows[i].Partition <= d.Rows[i-1].Partition {
			r.fail(errors.New("partitions do not ascend"))
		}
	}
	if err := r.end(); err != nil {
		return Delta{}, fmt.Errorf("parse delta: %w", err)
	}
	return d, nil
}

// AppendTableGet appends a TableGet frame; version is what the sender has, 0 for nothing.
func AppendTableGet(b []byte, version uint64) []byte {
	b, start := proto.Begin(b, proto.FrameTableGet)
	return proto.End(binary.BigEndian.AppendUint64(b, version), start)
}

// ParseTableGet reads the body of a TableGet frame.
func ParseTableGet(body []byte) (version uint64, err error) {
	r := reader{b: body}
	version = r.u64()
	if err := r.end(); err != nil {
		return 0, fmt.Errorf("parse table-get: %w", err)
	}
	return version, nil
}

// AppendVersion appends a Version frame.
func AppendVersion(b []byte, instance proto.Instance, mark Mark) []byte {
	b, start := proto.Begin(b, proto.FrameVersion)
	b = append(b, instance[:]...)
	return proto.End(appendMark(b, mark), start)
}

// ParseVersion reads the body of a Version frame.
func ParseVersion(body []byte) (instance proto.Instance, mark Mark, err error) {
	r := reader{b: body}
	instance, mark = r.instance(), r.mark()
	if err := r.end(); err != nil {
		return proto.Instance{}, Mark{}, fmt.Errorf("parse version: %w", err)
	}
	return instance, mark, nil
}

func appendMark(b []byte, m Mark) []byte {
	b = binary.BigEndian.AppendUint64(b, m.Version)
	return binary.BigEndian.AppendUint64(b, m.Fingerprint)
}

// dictionary numbers the nodes of a frame from 1, in the order of their first mention.
type dictionary map[proto.NodeName]uint16

func (d dictionary) add(r Row) {
	d.number(r.Owner)
	for _, f := range r.Followers {
		d.number(f)
	}
}

func (d dictionary) number(name proto.NodeName) {
	if _, known := d[name]; !known && name != "" {
		d[name] = uint16(len(d) + 1)
	}
}

func (d dictionary) append(b []byte) []byte {
	names := make([]proto.NodeName, len(d))
	for name, n := range d {
		names[n-1] = name
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(names)))
	for _, name := range names {
		b = append(b, byte(len(name)))
		b = append(b, name...)
	}
	return b
}

func (d dictionary) appendRow(b []byte, r Row) []byte {
	b = binary.BigEndian.AppendUint16(b, d[r.Owner])
	b = binary.BigEndian.AppendUint64(b, uint64(r.Term))
	b = append(b, byte(len(r.Followers)))
	for _, f := range r.Followers {
		b = binary.BigEndian.AppendUint16(b, d[f])
	}
	return b
}

// rowSize is the least that a row takes. Counts are checked against it before anything is
// allocated for them.
const rowSize = 2 + 8 + 1

// reader reads a body from the front. After the first failure it gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(errShort)
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads size(1) and as many bytes.
func (r *reader) text() string { return string(r.take(int(r.u8()))) }

func (r *reader) instance() (i proto.Instance) {
	copy(i[:], r.take(len(i)))
	return i
}

func (r *reader) mark() Mark { return Mark{Version: r.counter(), Fingerprint: r.u64()} }

// counter reads a version or a term. Half of what fits is refused: the next one must exist.
func (r *reader) counter() uint64 {
	n := r.u64()
	if n > math.MaxInt64 {
		r.fail(fmt.Errorf("counter %d out of range", n))
		return 0
	}
	return n
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	n := int(r.u16())
	if n*size > len(r.b) {
		r.fail(errShort)
		return 0
	}
	return n
}

func (r *reader) dictionary() []proto.NodeName {
	names := make([]proto.NodeName, r.count(1))
	for i := range names {
		name, err := proto.ParseNodeName(r.text())
		if err != nil {
			r.fail(err)
			return nil
		}
		names[i] = name
	}
	return names
}

func (r *reader) node(names []proto.NodeName) proto.NodeName {
	n := int(r.u16())
	if n == 0 || n > len(names) {
		r.fail(fmt.Errorf("node %d of %d", n, len(names)))
		return ""
	}
	return names[n-1]
}

func (r *reader) row(names []proto.NodeName) Row {
	var row Row
	if len(r.b) >= 2 && r.b[0] == 0 && r.b[1] == 0 {
		r.u16()
	} else {
		row.Owner = r.node(names)
	}
	row.Term = proto.Term(r.counter())
	if n := int(r.u8()); n > 0 && n*2 <= len(r.b) {
		row.Followers = make([]proto.NodeName, n)
		for i := range row.Followers {
			row.Followers[i] = r.node(names)
		}
	} else if n > 0 {
		r.fail(errShort)
	}
	return row
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(errTrailing)
	}
	return r.err
}
