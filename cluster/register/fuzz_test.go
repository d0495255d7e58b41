package register

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// FuzzParseFacts: a snapshot that is understood is written again as it was.
func FuzzParseFacts(f *testing.F) {
	voters := []proto.NodeName{"s1/0000000000001", "s2/0000000000001"}
	f.Add(appendFacts(nil, &facts{index: 7, voters: voters}))
	f.Add(appendFacts(nil, &facts{index: 7, voters: voters, table: foundOrder(founding(2)).Command.Found}))
	f.Add(binary.BigEndian.AppendUint64([]byte{1}, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := parseFacts(b)
		if err != nil {
			return
		}
		written := appendFacts(nil, &first)
		again, err := parseFacts(written)
		if err != nil || !bytes.Equal(appendFacts(nil, &again), written) || again.index != first.index || len(again.voters) != len(first.voters) {
			t.Errorf("%+v became %+v, %v", first, again, err)
		}
		if first.table == nil && !bytes.Equal(written, b) {
			t.Errorf("%x became %x", b, written)
		}
	})
}

// FuzzState applies arbitrary entries on two voters and in between has one of
// them restored from the other's snapshot: an entry is done or refused, by both
// alike, and they hold the same to the byte. A version never goes back, and what
// is refused changes nothing.
func FuzzState(f *testing.F) {
	change := func(c cluster.Command) []byte {
		b := cluster.AppendCommand(nil, &c)
		return append([]byte{byte(c.Term), byte(len(b) >> 8), byte(len(b))}, b...)
	}
	s1, s2 := proto.NodeName("s1/0000000000001"), proto.NodeName("s2/0000000000001")
	one := change(cluster.Command{Term: 1, Changes: []plan.Change{{Partition: 1, Row: plan.Row{Owner: s1, Term: 1, Since: 1}}}, Addresses: []cluster.Address{{Name: s1, Link: "a:1"}}})
	two := change(cluster.Command{Term: 2, Changes: []plan.Change{{Partition: 1, Replaces: 1, Row: plan.Row{Owner: s1, Followers: []proto.NodeName{s2}, Term: 2, Since: 1}}}, Forget: []proto.NodeName{s2}})
	f.Add(one)
	f.Add(append(bytes.Clone(one), two...))
	f.Add(append(bytes.Clone(two), one...))
	f.Fuzz(func(t *testing.T, in []byte) {
		mark := func() *state { return &state{log: zap.NewNop(), seen: newSeen(func() {}), counts: new(counts)} }
		a, b := mark(), mark()
		first := cluster.AppendCommand(nil, &cluster.Command{Term: 1, Found: foundOrder(founding(0)).Command.Found})
		in = append([]byte{1, byte(len(first) >> 8), byte(len(first))}, append(first, in...)...)
		for index := uint64(1); len(in) >= 3 && index < 32; index++ {
			term, size := uint64(in[0]), min(int(in[1])<<8|int(in[2]), len(in)-3)
			entry := &raft.Log{Index: index, Term: term, Data: in[3 : 3+size]}
			in = in[3+size:]
			before := a.now.table
			errA, errB := a.Apply(entry), b.Apply(entry)
			if (errA == nil) != (errB == nil) || !bytes.Equal(appendFacts(nil, &a.now), appendFacts(nil, &b.now)) {
				t.Fatalf("entry %d: %v and %+v, %v and %+v", index, errA, a.now, errB, b.now)
			}
			if err, failed := errA.(error); failed && (!errors.Is(err, cluster.ErrRefused) || a.now.table != before) {
				t.Fatalf("entry %d: %v, and it changed something", index, err)
			}
			if now := a.now.table; before != nil && now != before && (now.Version <= before.Version || now.Founding() != before.Founding()) {
				t.Fatalf("entry %d: version %d after %d", index, now.Version, before.Version)
			}
			b = mark()
			if err := b.Restore(io.NopCloser(bytes.NewReader(appendFacts(nil, &a.now)))); err != nil {
				t.Fatalf("entry %d: no voter can read the snapshot of %+v: %v", index, a.now.table, err)
			}
		}
	})
}
