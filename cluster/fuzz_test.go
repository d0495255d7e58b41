package cluster

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// aboutTable are the frames that a Keeper takes.
var aboutTable = []proto.FrameType{
	proto.FrameTable, proto.FrameDelta, proto.FrameTableGet, proto.FrameVersion, proto.FrameWitness, proto.FrameFound, proto.FrameAgree,
	proto.FramePromised, proto.FrameWish,
}

// FuzzKeeper hands a conversation of arbitrary frames to a coordinator, and to a
// node that has not got a Table yet: no word of another node makes it panic, go
// back to an older Table or leave its founding for one that is not its heir; what
// it sends can be understood; and the same words lead to the same answers.
func FuzzKeeper(f *testing.F) {
	bodies := exampleBodies()
	names := []string{"table", "delta", "table-get", "version", "witness", "found", "agree"}
	var all []byte
	for i, name := range names {
		one := append([]byte{byte(i), byte(len(bodies[name][0]) >> 8), byte(len(bodies[name][0]))}, bodies[name][0]...)
		f.Add(one, true)
		f.Add(one, false)
		all = append(all, one...)
	}
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	rows := make([]Row, testPartitions)
	for p := range rows {
		rows[p] = Row{Owner: []Node{s1, s2, s3}[p%3].Name, Term: 2, Since: 1}
	}
	next := NewTable(Head{Instance: inst, Version: 2, Settings: plan.DefaultSettings(), Voters: []proto.NodeName{s1.Name}}, rows)
	for i, frame := range [][]byte{
		AppendTable(nil, next),
		AppendVersion(nil, Announcement{Instance: inst, Mark: next.Mark(), Term: 9}),
		AppendWitness(nil, []Death{{Name: s3.Name, Fate: FateLeft}}),
		proto.AppendWishes(nil, []proto.Wish{{Partition: 1, Term: 1, Kind: proto.WishAdd, Node: s3.Name}, {Partition: 4, Term: 1, Kind: proto.WishDrop, Node: s1.Name}}),
		proto.AppendPromised(nil, []proto.Promise{{Partition: 2, Term: 2}}),
	} {
		kind := []byte{0, 3, 4, 8, 7}[i]
		body := frame[proto.HeaderSize:]
		one := append([]byte{kind, byte(len(body) >> 8), byte(len(body))}, body...)
		f.Add(one, true)
		all = append(all, one...)
	}
	f.Add(all, true)
	f.Add(all, false)
	f.Fuzz(func(t *testing.T, in []byte, coordinates bool) {
		one, two := converse(t, in, coordinates), converse(t, in, coordinates)
		if !bytes.Equal(one, two) {
			t.Fatalf("two runs differ:\n%s\n%s", one, two)
		}
	})
}

// converse is a list of frames, each a byte for its type, two for its size, and
// its body. It returns a transcript of what the Keeper did.
func converse(t *testing.T, in []byte, coordinates bool) []byte {
	var out bytes.Buffer
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := &desk{t: t, now: time.Unix(1_000, 0), nodes: []Node{s1, s2, s3}}
	if coordinates {
		d = newDesk(t, 0, s1, s2, s3)
	} else {
		d.k = NewKeeper(KeeperConfig{Self: s1.Name, Role: s1.Role, Partitions: testPartitions, Expect: 3, Seeded: true, Random: bytes.NewReader(make([]byte, 1<<10))})
		d.k.SetNodes(d.now, d.nodes)
		d.k.LinkUp(d.now, s2.Name)
		d.k.LinkUp(d.now, s3.Name)
	}
	for n := 0; len(in) >= 3 && n < 64; n++ {
		typ, size := aboutTable[int(in[0])%len(aboutTable)], min(int(in[1])<<8|int(in[2]), len(in)-3)
		before := d.k.Table()
		err := d.k.Frame(d.now, []Node{s2, s3}[n%2].Name, typ, in[3:3+size])
		fmt.Fprintf(&out, "%v %v\n", typ, err)
		in = in[3+size:]
		d.pass(time.Duration(n%4) * 200 * time.Millisecond)
		d.recount(&out, before)
	}
	return out.Bytes()
}

// recount writes down what the Keeper wants now, and holds its Table against the
// one of before.
func (d *desk) recount(out *bytes.Buffer, before *Table) {
	now := d.k.Table()
	if before != nil && (now == nil || now != before && now.Version <= before.Version || now.Instance != before.Instance) {
		d.t.Fatalf("table %+v after %+v", now, before)
	}
	if now != nil {
		fmt.Fprintf(out, "%v %v\n", now.Mark(), d.k.Leader(d.now))
	}
	for _, s := range d.k.Take() {
		fmt.Fprintf(out, "to %s %x\n", s.To, s.Frame)
		if typ, size, err := proto.ParseHeader(s.Frame); err != nil || size != len(s.Frame) {
			d.t.Fatalf("sends %v of %d bytes: %v", typ, size, err)
		}
	}
	for _, i := range d.k.Orders() {
		fmt.Fprintf(out, "order %d %v %s\n", i.Number, i.Order.Kind, i.Order.Voter)
		if i.Order.Command != nil {
			fmt.Fprintf(out, "%x\n", AppendCommand(nil, i.Order.Command))
			if _, err := ParseCommand(AppendCommand(nil, i.Order.Command)); err != nil {
				d.t.Fatalf("orders what no voter understands: %v", err)
			}
		}
	}
	for _, p := range d.k.Probes() {
		fmt.Fprintf(out, "probe %+v\n", p)
	}
}
