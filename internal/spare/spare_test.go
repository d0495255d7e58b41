package spare

import "testing"

func TestWhatNobodyMissedGoes(t *testing.T) {
	var l List[int]
	for i := range 100 {
		l.Put(i)
	}
	if l.Tidy(nil); l.Len() != 100 {
		t.Fatalf("%d of 100 are left of what came in this while", l.Len())
	}
	var went []int
	l.Tidy(func(v int) { went = append(went, v) })
	if l.Len() != 50 || len(went) != 50 {
		t.Fatalf("%d are left and %d went, want half", l.Len(), len(went))
	}
	for range 20 {
		l.Tidy(nil)
	}
	if l.Len() != 0 || cap(l.free) > 3 {
		t.Errorf("%d are left after a long while, in a list for %d", l.Len(), cap(l.free))
	}
	if _, ok := l.Take(); ok {
		t.Error("took something from an empty list")
	}
}

// TestWhatIsNeededStays: a load that takes all at times finds all again, and
// allocates nothing.
func TestWhatIsNeededStays(t *testing.T) {
	var l List[int]
	for i := range 100 {
		l.Put(i)
	}
	step := func() {
		for range 100 {
			if _, ok := l.Take(); !ok {
				t.Fatal("one is missing")
			}
		}
		for i := range 100 {
			l.Put(i)
		}
		l.Tidy(nil)
	}
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations per while", n)
	}
}

// TestTidyIsBounded: a list may be long, and a lane does nothing else meanwhile.
func TestTidyIsBounded(t *testing.T) {
	var l List[int]
	const n = 10 * tidyMost
	for i := range n {
		l.Put(i)
	}
	l.Tidy(nil)
	l.Tidy(nil)
	if l.Len() != n-tidyMost {
		t.Errorf("%d went at once, want %d", n-l.Len(), tidyMost)
	}
}
