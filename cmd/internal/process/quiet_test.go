package process

import "testing"

func TestQuiet(t *testing.T) {
	const mib = 1 << 20
	var q quiet
	for i, step := range []struct {
		allocated uint64
		want      bool
	}{
		{8 * mib, false},    // starting up
		{8*mib + 1, true},   // up
		{9 * mib, false},    // a little, steadily
		{10 * mib, false},   // still
		{40 * mib, false},   // a burst
		{80 * mib, false},   // goes on
		{81 * mib, true},    // is over
		{81*mib + 1, false}, // once is enough
	} {
		if got := q.over(step.allocated); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
