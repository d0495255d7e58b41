package process

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/settings"
)

func TestReport(t *testing.T) {
	tests := []struct {
		err  error
		code int
		text string
	}{
		{nil, Good, ""},
		{settings.ErrDone, Good, ""},
		{errors.New("no luck"), Failed, "prog: no luck\n"},
		{&settings.UsageError{Err: errors.New("no sense")}, Misuse, "prog: no sense\nTry prog --help.\n"},
	}
	for _, test := range tests {
		var b bytes.Buffer
		if code := Report(&b, "prog", test.err); code != test.code || b.String() != test.text {
			t.Errorf("%v: %d %q", test.err, code, b.String())
		}
	}
}

func TestSignals(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ctx, drain, stop := Signals(t.Context())
	defer stop()
	if err := self.Signal(os.Interrupt); err != nil {
		t.Skip("no signals here:", err)
	}
	wait(t, drain, "drain after the first signal")
	if ctx.Err() != nil {
		t.Error("the first signal ends everything")
	}
	if err := self.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx.Done(), "end after the second signal")
}

func TestReloads(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	heard, stop := Reloads()
	defer stop()
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Skip("no signals here:", err)
	}
	select {
	case <-heard:
	case <-time.After(5 * time.Second):
		t.Error("nothing heard")
	}
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(5 * time.Second):
		t.Fatalf("no %s", what)
	}
}
