package proto

import (
	"testing"

	"pgregory.net/rapid"
)

// TestTermIn: a term of a later generation is above all of the earlier ones, and goes on counting.
func TestTermIn(t *testing.T) {
	for _, tt := range []struct {
		t          Term
		generation uint32
		want       Term
	}{
		{0, 0, 1},
		{7, 0, 8},
		{0, 1, 1<<32 | 1},
		{7, 1, 1<<32 | 8},
		{2<<32 | 7, 3, 3<<32 | 8},
		{2<<32 | 7, 1, 1<<32 | 8},
	} {
		if have := tt.t.In(tt.generation); have != tt.want {
			t.Errorf("term %#x in generation %d is %#x, want %#x", uint64(tt.t), tt.generation, uint64(have), uint64(tt.want))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		was := Term(rapid.Uint64().Draw(t, "term"))
		generation := rapid.Uint32().Draw(t, "generation")
		next := was.In(generation)
		if next.Generation() != generation {
			t.Fatalf("%#x is of generation %d", uint64(next), next.Generation())
		}
		if generation > was.Generation() && next <= was {
			t.Fatalf("%#x is not above %#x", uint64(next), uint64(was))
		}
		if uint32(next) != uint32(was)+1 {
			t.Fatalf("%#x counts on as %#x", uint64(was), uint64(next))
		}
	})
}
