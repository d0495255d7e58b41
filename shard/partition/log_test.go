package partition

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// TestLogIsAList compares a log with a slice, however entries come and go, and
// wants its memory back at the end.
func TestLogIsAList(t *testing.T) {
	type item struct {
		term proto.Term
		raw  []byte
	}
	rapid.Check(t, func(t *rapid.T) {
		s := newShelves()
		g := &log{first: 1}
		first, list := proto.Index(1), []item(nil)
		var before proto.Term
		for n := range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				k := rapid.IntRange(0, len(list)).Draw(t, "drop")
				if k > 0 {
					before = list[k-1].term
				}
				s.drop(g, first+proto.Index(k)-1)
				list, first = list[k:], first+proto.Index(k)
			case 1:
				k := rapid.IntRange(0, len(list)).Draw(t, "cut")
				s.cut(g, first+proto.Index(k))
				list = list[:k:k]
			default:
				x := item{proto.Term(n/20 + 1), bytes.Repeat([]byte{byte(n)}, rapid.IntRange(1, 3000).Draw(t, "size"))}
				s.put(g, x.term, x.raw)
				list = append(list, x)
			}
			if g.first != first || g.last() != first+proto.Index(len(list))-1 || g.term(first-1) != before {
				t.Fatalf("log from %d to %d behind term %d, want %d entries from %d behind term %d", g.first, g.last(), g.term(first-1), len(list), first, before)
			}
			var all []byte
			for i, x := range list {
				at := first + proto.Index(i)
				if !bytes.Equal(g.bytes(at-1, at), x.raw) || g.term(at) != x.term {
					t.Fatalf("entry %d is another", at)
				}
				all = append(all, x.raw...)
			}
			if !bytes.Equal(g.bytes(first-1, g.last()), all) || g.size(first-1) != len(all) {
				t.Fatal("the bytes are others")
			}
		}
		s.drop(g, g.last())
		if g.buf != nil || g.metas != nil {
			t.Fatal("an empty log holds memory")
		}
	})
}

// TestEntriesOfOneTerm: an Append has entries of one term, and what fits.
func TestEntriesOfOneTerm(t *testing.T) {
	s := newShelves()
	g := &log{first: 1}
	for i, term := range []proto.Term{1, 1, 2, 2, 2} {
		s.put(g, term, make([]byte, 10*(i+1)))
	}
	for _, tt := range []struct {
		after proto.Index
		limit int
		want  proto.Index
	}{{0, 1000, 2}, {0, 29, 1}, {0, 9, 0}, {1, 1000, 2}, {2, 1000, 5}, {2, 70, 4}, {5, 1000, 5}, {2, -1, 2}} {
		if got := g.run(tt.after, tt.limit); got != tt.want {
			t.Errorf("behind %d in %d bytes: up to %d, want %d", tt.after, tt.limit, got, tt.want)
		}
	}
}

func TestShelvesAreBounded(t *testing.T) {
	s := shelf[byte]{least: 16, most: 64}
	var taken [][]byte
	for range 10 {
		taken = append(taken, s.take(20))
	}
	for _, b := range taken {
		s.give(b)
	}
	s.give(s.take(1000))
	if have := fmt.Sprint(s.free[1].Len(), s.free[6].Len()); have != "2 0" {
		t.Errorf("free slices of 32 and 1024: %s", have)
	}
}
