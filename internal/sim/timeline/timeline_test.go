package timeline

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Events happen in the order of their times, those of one time in the order in
// which they were made; the same seed gives the same transcript.
func TestOrder(t *testing.T) {
	run := func(seed uint64) (string, uint64) {
		var text strings.Builder
		x := New(seed, 1, &text)
		for _, name := range []string{"a", "b", "c"} {
			x.After(time.Second, func() { x.Trace("%s", name) })
		}
		x.After(x.Between(time.Millisecond, time.Second-1), func() {
			x.Trace("first")
			x.After(time.Minute, func() { x.Trace("too late") })
		})
		x.Run(2 * time.Second)
		return text.String(), x.Hash()
	}
	text, hash := run(1)
	var words []string
	for line := range strings.Lines(text) {
		words = append(words, strings.Fields(line)[1])
	}
	if got := strings.Join(words, " "); got != "first a b c" {
		t.Errorf("it happened: %s", got)
	}
	if again, same := run(1); again != text || same != hash {
		t.Errorf("again it happened:\n%s", again)
	}
	if _, other := run(2); other == hash {
		t.Error("another seed did the same")
	}
}

// A broken promise ends the run, and so does a panic.
func TestPlay(t *testing.T) {
	broken := errors.New("promised")
	x := New(1, 1, nil)
	if err := x.Play(func() { x.Fail("not as %w", broken) }); !errors.Is(err, broken) {
		t.Errorf("failed with %v", err)
	}
	if err := x.Play(func() { panic("boom") }); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("panicked with %v", err)
	}
	if err := x.Play(func() {}); err != nil {
		t.Errorf("ended with %v", err)
	}
}
