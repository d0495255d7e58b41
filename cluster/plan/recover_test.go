package plan

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// drawKnown is a row of an older generation as some node may have kept it. Few values, so that
// copies agree, lag behind and contradict each other.
var drawKnown = rapid.Custom(func(t *rapid.T) Row {
	name := rapid.SampledFrom([]proto.NodeName{"", "s1/1", "s2/1", "s3/1"})
	r := Row{Owner: name.Draw(t, "owner"), Term: proto.Term(rapid.SampledFrom([]uint64{0, 1, 2, 1<<32 | 2, 1<<32 | 3}).Draw(t, "term"))}
	if r.Term == 0 {
		return Row{}
	}
	r.Since = min(r.Term, proto.Term(rapid.IntRange(1, 2).Draw(t, "since")))
	if f := name.Draw(t, "follower"); f != "" && f != r.Owner {
		r.Followers = []proto.NodeName{f}
	}
	return r
})

// TestRecover holds what is recovered against each partition's rows of the highest term.
func TestRecover(t *testing.T) {
	kept, begun := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		const partitions, generation = 12, 5
		tables := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(drawKnown, partitions, partitions), MakeRows), 1, 4).Draw(t, "tables")
		dead := rapid.SampledFrom([]proto.NodeName{"s1/1", "s2/1", "nobody"}).Draw(t, "dead")
		lives := func(n proto.NodeName) bool { return n != dead }
		wanted := rapid.SampledFrom([]proto.NodeName{"", "s3/1", "s4/1"}).Draw(t, "wanted")
		rows := Recover(generation, tables, lives, func(proto.Partition) proto.NodeName { return wanted })
		again := Recover(generation, rapid.Permutation(tables).Draw(t, "order"), lives, func(proto.Partition) proto.NodeName { return wanted })
		if len(rows) != partitions || !slices.EqualFunc(rows, again, Row.Equal) {
			t.Fatal("the order of the tables matters")
		}
		for p, r := range rows {
			var top []Row // what is known of the highest term
			for _, table := range tables {
				switch row := *table.At(proto.Partition(p)); {
				case len(top) == 0 || row.Term > top[0].Term:
					top = []Row{row}
				case row.Term == top[0].Term:
					top = append(top, row)
				}
			}
			if r.Term == 0 && (top[0].Term != 0 || wanted != "") || r.Term != 0 && (r.Term.Generation() != generation || r.Term <= top[0].Term) {
				t.Fatalf("partition %d: term %x after %x", p, r.Term, top[0].Term)
			}
			agreed := !slices.ContainsFunc(top, func(o Row) bool { return !o.Equal(top[0]) })
			if agreed && top[0].Owner != "" && top[0].Owner != dead {
				kept++
				if r.Owner != top[0].Owner || r.Since != top[0].Since || slices.Contains(r.Followers, dead) || len(top[0].Followers) > 0 && top[0].Followers[0] != dead && len(r.Followers) != 1 {
					t.Fatalf("partition %d: %+v became %+v", p, top[0], r)
				}
				continue
			}
			begun++
			if r.Owner != wanted || r.Since != r.Term || len(r.Followers) > 0 {
				t.Fatalf("partition %d: %+v became %+v, wanted by %q", p, top, r, wanted)
			}
		}
	})
	if kept == 0 || begun == 0 {
		t.Errorf("%d partitions were kept, %d begun anew", kept, begun)
	}
	if Recover(1, nil, nil, nil) != nil {
		t.Error("nothing became something")
	}
}

// TestRecoverKeepsWhoNeverStopped: an owner that lives keeps its rooms, whatever term it heard of
// last, and one that was replaced without knowing it begins anew, if it is wanted again.
func TestRecoverKeepsWhoNeverStopped(t *testing.T) {
	lives := func(n proto.NodeName) bool { return n != "b/1" }
	wanted := func(proto.Partition) proto.NodeName { return "a/1" }
	behind := []Row{{Owner: "a/1", Term: 3, Since: 1}, {Owner: "a/1", Term: 3, Since: 1}}
	ahead := []Row{{Owner: "a/1", Term: 5, Since: 1, Followers: []proto.NodeName{"b/1", "c/1"}}, {Owner: "b/1", Term: 4, Since: 4}}
	rows := Recover(1, []Rows{MakeRows(behind), MakeRows(ahead)}, lives, wanted)
	want := []Row{
		{Owner: "a/1", Term: 1<<32 | 6, Since: 1, Followers: []proto.NodeName{"c/1"}},
		{Owner: "a/1", Term: 1<<32 | 5, Since: 1<<32 | 5},
	}
	if !slices.EqualFunc(rows, want, Row.Equal) {
		t.Errorf("recovered %+v, want %+v", rows, want)
	}
}
