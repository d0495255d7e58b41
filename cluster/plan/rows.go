package plan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/roomring/roomring/proto"
)

// Rows are the rows of a Table, by partition. They are an immutable value, in chunks: Rows that were made of
// others share every chunk in which nothing changed. A Table of thousands of rows changes a few of them
// hundreds of times while a shard joins, on every node; so a change has to cost what it changes, and what is
// the same in two Tables must be found without looking at it.
type Rows struct {
	chunks []*chunk
	count  int
}

// chunkSize is how many rows a chunk has, the last one perhaps fewer. What is moved at a time lies in a few
// chunks next to each other; smaller ones would make the list of them longer than what it saves.
const chunkSize = 32

// chunk is neighbouring rows. It is not changed any more once it is part of Rows.
type chunk struct {
	rows []Row
	text []byte // of the rows, for the fingerprint
}

// MakeRows makes Rows of a list, by partition. The list is copied.
func MakeRows(list []Row) Rows {
	r := Rows{count: len(list)}
	for part := range slices.Chunk(list, chunkSize) {
		c := &chunk{rows: slices.Clone(part)}
		c.write(proto.Partition(len(r.chunks)*chunkSize), &chunk{})
		r.chunks = append(r.chunks, c)
	}
	return r
}

// Len returns the number of rows.
func (r Rows) Len() int { return r.count }

// At returns the partition's row, which must not be changed. p must be below Len.
func (r Rows) At(p proto.Partition) *Row { return &r.chunks[int(p)/chunkSize].rows[int(p)%chunkSize] }

// All are the rows by partition. They must not be changed.
func (r Rows) All() iter.Seq2[proto.Partition, *Row] {
	return func(yield func(proto.Partition, *Row) bool) {
		for i, c := range r.chunks {
			for j := range c.rows {
				if !yield(proto.Partition(i*chunkSize+j), &c.rows[j]) {
					return
				}
			}
		}
	}
}

// Apply returns rows with the changes made. It fails when a Change names a partition that does not exist,
// replaces another term than the Row has, or does not raise the term.
func (r Rows) Apply(changes []Change) (Rows, error) {
	if len(changes) == 0 {
		return r, nil
	}
	next := Rows{slices.Clone(r.chunks), r.count}
	for i := range changes {
		c := &changes[i]
		if int(c.Partition) >= r.count {
			return Rows{}, fmt.Errorf("change partition %d: there are only %d", c.Partition, r.count)
		}
		row := next.At(c.Partition)
		if row.Term != c.Replaces {
			return Rows{}, fmt.Errorf("change partition %d: replaces term %d, but it has term %d", c.Partition, c.Replaces, row.Term)
		}
		if c.Row.Term <= c.Replaces {
			return Rows{}, fmt.Errorf("change partition %d: term %d does not follow term %d", c.Partition, c.Row.Term, c.Replaces)
		}
		at := int(c.Partition) / chunkSize
		if next.chunks[at] == r.chunks[at] {
			next.chunks[at] = &chunk{rows: slices.Clone(r.chunks[at].rows)}
		}
		*next.At(c.Partition) = c.Row
	}
	for i, c := range next.chunks {
		if c != r.chunks[i] {
			c.write(proto.Partition(i*chunkSize), r.chunks[i])
		}
	}
	return next, nil
}

// Changed are the partitions whose row is another one than in old, or that old does not have. Rows of one
// register that differ have other terms.
func (r Rows) Changed(old Rows) iter.Seq[proto.Partition] {
	return func(yield func(proto.Partition) bool) {
		for i, c := range r.chunks {
			var was chunk
			if i < len(old.chunks) {
				was = *old.chunks[i]
			}
			if i < len(old.chunks) && c == old.chunks[i] || bytes.Equal(c.text, was.text) {
				continue // the text has the terms
			}
			for j := range c.rows {
				if j < len(was.rows) && c.rows[j].Term == was.rows[j].Term {
					continue
				}
				if !yield(proto.Partition(i*chunkSize + j)) {
					return
				}
			}
		}
	}
}

// Fingerprint is the same for two Rows if, but for what Since says, they are. It is the xxhash64 of, per
// partition in order: partition(2), the owner's incarnation(8), how many followers(1) and the
// incarnation(8) of each, term(8); all big-endian, no owner is 0.
func (r Rows) Fingerprint() uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, c := range r.chunks {
		d.Write(c.text)
	}
	return d.Sum64()
}

// write makes the text of a chunk that begins at the partition. What is as it was in another one, which may
// be empty, is copied from there: to read a name costs more than all else.
func (c *chunk) write(first proto.Partition, was *chunk) {
	c.text = make([]byte, 0, len(c.rows)*(textSize+8)) // with a follower each
	old := was.text
	for i := range c.rows {
		row := &c.rows[i]
		if i >= len(was.rows) {
			c.text = appendText(c.text, first+proto.Partition(i), row)
			continue
		}
		size := textSize + 8*len(was.rows[i].Followers)
		if row.Term == was.rows[i].Term {
			c.text = append(c.text, old[:size]...)
		} else {
			c.text = appendText(c.text, first+proto.Partition(i), row)
		}
		old = old[size:]
	}
}

// textSize is what a row without followers takes.
const textSize = 2 + 8 + 1 + 8

func appendText(b []byte, p proto.Partition, r *Row) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(p))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Owner.Incarnation()))
	b = append(b, byte(len(r.Followers)))
	for _, f := range r.Followers {
		b = binary.BigEndian.AppendUint64(b, uint64(f.Incarnation()))
	}
	return binary.BigEndian.AppendUint64(b, uint64(r.Term))
}
