package loadgen

// tracker follows one publisher's messages as one member receives them.
//
// Invariant: every number below next was seen, or is in missing.
type tracker struct {
	next    uint32 // the number expected next, less one: the zero value expects 1
	missing map[uint32]struct{}
}

// verdict is what one arrival means.
type verdict uint8

const (
	inOrder verdict = iota
	doubled
	reordered
	absurd // a number nobody can have sent yet
)

// maxGap bounds the missing numbers that one arrival can add.
const maxGap = 1 << 20

// saw records the arrival of seq.
func (t *tracker) saw(seq uint32) verdict {
	expected := t.next + 1
	switch {
	case seq == expected:
		t.next++
		return inOrder
	case seq > expected && seq-expected > maxGap:
		return absurd
	case seq > expected:
		if t.missing == nil {
			t.missing = map[uint32]struct{}{}
		}
		for n := expected; n < seq; n++ {
			t.missing[n] = struct{}{}
		}
		t.next = seq
		return inOrder // if the missing ones come later, they are the reordered ones
	}
	if _, late := t.missing[seq]; late {
		delete(t.missing, seq)
		return reordered
	}
	return doubled
}

// lost returns how many of the sent messages never came.
func (t *tracker) lost(sent uint32) uint64 {
	n := uint64(len(t.missing))
	if sent > t.next {
		n += uint64(sent - t.next)
	}
	return n
}
