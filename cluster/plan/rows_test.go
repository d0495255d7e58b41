package plan

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// TestRowsApply holds Rows that change again and again against a plain list: what they say, what is news, and
// the fingerprint; and none of those that came before is changed by it.
func TestRowsApply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.SampledFrom([]int{1, chunkSize - 1, chunkSize, 2*chunkSize + 5}).Draw(t, "rows")
		plain := make([]Row, count)
		rows, first := MakeRows(plain), MakeRows(plain)
		for range rapid.IntRange(1, 8).Draw(t, "times") {
			was, changed := rows, make(map[proto.Partition]bool)
			var changes []Change
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				p := proto.Partition(rapid.IntRange(0, count-1).Draw(t, "partition"))
				row := Row{Owner: drawName.Draw(t, "owner"), Term: plain[p].Term + 1, Since: 1, Followers: drawNames.Draw(t, "followers")}
				changes = append(changes, Change{p, plain[p].Term, row})
				plain[p], changed[p] = row, true
			}
			var err error
			if rows, err = rows.Apply(changes); err != nil {
				t.Fatal(err)
			}
			anew := MakeRows(plain)
			if !slices.EqualFunc(list(rows), plain, Row.Equal) || rows.Fingerprint() != anew.Fingerprint() || rows.Len() != count {
				t.Fatalf("%+v led to\n%+v, want\n%+v", changes, list(rows), plain)
			}
			for _, r := range []Rows{rows, anew} { // with chunks in common, and without
				if news := slices.Collect(r.Changed(was)); !slices.Equal(news, slices.Sorted(maps.Keys(changed))) {
					t.Fatalf("%+v are news of partitions %v", changes, news)
				}
			}
		}
		if !slices.EqualFunc(list(first), make([]Row, count), Row.Equal) {
			t.Fatal("the first rows were changed")
		}
		if news := slices.Collect(rows.Changed(Rows{})); len(news) != count {
			t.Fatalf("%d of %d rows are news to who has none", len(news), count)
		}
	})
}

var (
	drawName  = rapid.SampledFrom([]proto.NodeName{"", proto.MakeNodeName("s1", 1), proto.MakeNodeName("s2", 2)})
	drawNames = rapid.SliceOfN(drawName, 0, 2)
)

func TestApplyRefuses(t *testing.T) {
	rows := []Row{{Owner: "a/1", Term: 3}}
	for name, c := range map[string]Change{
		"a partition that is not there": {Partition: 1, Replaces: 3, Row: Row{Owner: "b/1", Term: 4}},
		"an old term":                   {Partition: 0, Replaces: 2, Row: Row{Owner: "b/1", Term: 4}},
		"a term that does not grow":     {Partition: 0, Replaces: 3, Row: Row{Owner: "b/1", Term: 3}},
	} {
		if _, err := apply(rows, []Change{c}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// BenchmarkRows is what becomes of 32 rows in a Table of a real cluster's size, and how a row is found.
func BenchmarkRows(b *testing.B) {
	plain := make([]Row, proto.Partitions)
	for p := range plain {
		plain[p] = Row{Owner: proto.MakeNodeName("s1", 1), Followers: []proto.NodeName{proto.MakeNodeName("s2", 2)}, Term: 5, Since: 1}
	}
	rows := MakeRows(plain)
	for _, apart := range []int{1, 4, 100} {
		var changes []Change
		for i := range 32 {
			p := proto.Partition(i * apart)
			changes = append(changes, Change{p, 5, rows.At(p).then(nil, &Scene{})})
		}
		b.Run(fmt.Sprint("apply/", apart, " apart"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = rows.Apply(changes)
			}
		})
	}
	b.Run("fingerprint", func(b *testing.B) {
		for b.Loop() {
			rows.Fingerprint()
		}
	})
	b.Run("at", func(b *testing.B) {
		p := proto.Partition(0)
		for b.Loop() {
			p = (p + 257) % proto.Partitions
			_ = rows.At(p).Term
		}
	})
	b.Run("at/plain", func(b *testing.B) {
		p := proto.Partition(0)
		for b.Loop() {
			p = (p + 257) % proto.Partitions
			_ = plain[p].Term
		}
	})
}
