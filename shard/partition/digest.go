package partition

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// Digest sums up what was applied to a partition, for tests and for operators
// who compare copies: two whole copies with one index have one sum, unless one of
// them dropped messages for lack of memory. It reads everything. Ok is false when
// there is no whole copy.
func (l *Lane) Digest(number proto.Partition) (index proto.Index, sum uint64, ok bool) {
	p := l.part(number)
	if p == nil || p.copy != whole || p.applied < p.follow.wholeAt {
		return 0, 0, false
	}
	var rooms []*roomState
	for rm := p.first; rm != nil; rm = rm.next {
		if !rm.pending && !rm.partial {
			rooms = append(rooms, rm)
		}
	}
	slices.SortFunc(rooms, func(a, b *roomState) int { return cmp.Compare(a.name, b.name) })
	var d digest
	d.Reset()
	for _, rm := range rooms {
		d.room(rm)
	}
	for _, pub := range p.pubs {
		if !pub.pending {
			d.publisher(pub)
		}
	}
	d.number(uint64(p.given()))
	d.number(p.lastAt)
	return p.applied, d.Sum64(), true
}

type digest struct{ xxhash.Digest }

func (d *digest) number(n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	d.Write(b[:])
}

func (d *digest) bytes(b []byte) {
	d.number(uint64(len(b)))
	d.Write(b)
}

func (d *digest) room(rm *roomState) {
	e := rm.log.Epoch()
	d.bytes([]byte(rm.name))
	d.bytes(e[:])
	d.number(uint64(rm.log.First()))
	d.number(uint64(rm.log.Head()))
	rm.log.Walk(0, rm.log.Head(), func(_ proto.Offset, m *room.Message) bool {
		for _, n := range []uint64{uint64(m.Kind), uint64(m.Publisher), m.Conn, uint64(m.At)} {
			d.number(n)
		}
		d.bytes(m.Payload)
		return true
	})
}

func (d *digest) publisher(pub *publisher) {
	d.bytes([]byte(pub.name))
	for _, n := range []uint64{uint64(pub.number), uint64(pub.committed), pub.left, uint64(len(pub.refused))} {
		d.number(n)
	}
	for _, r := range pub.refused {
		d.number(uint64(r.Seq))
		d.number(uint64(r.Code))
	}
}
