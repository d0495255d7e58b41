package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/verify"
)

func TestVerifyHelp(t *testing.T) {
	out, errs, code := command(t.Context(), "verify", "--help")
	if code != process.Good || errs != "" {
		t.Errorf("code %d, %s", code, errs)
	}
	golden(t, "help-verify.txt", out)
}

func TestVerifyMisuse(t *testing.T) {
	for _, args := range [][]string{{"--for=x"}, {"--for=-1s"}, {"--size=1"}, {"--rooms=-1"}, {"--rooms=0"}, {"--members=0"}, {"--rate=0"}, {"--quiet=0s"}, {"--max-pause=-1s"}, {"--max-pause=1"}, {"--members=10000000"}, {"--rate=-1"}, {"--url=http://x/"},
		{"--url=ws:///"}, {"--allow=everything"}, {"--at=10s"}, {"--at=soon=true"}, {"--at=10s="}, {"--at=31s=true"}, {"--events=/does/not/exist"}, {"--html=/does/not/exist"}, {"more"}} {
		_, errs, code := command(t.Context(), append([]string{"verify"}, args...)...)
		if code != process.Misuse || !strings.HasPrefix(errs, "roomring: ") || !strings.Contains(errs, "--help") {
			t.Errorf("%s: code %d, %q", args, code, errs)
		}
	}
}

// dev runs a cluster until the test ends, and returns where its routers listen.
func dev(t *testing.T) (routers [2]string) {
	t.Helper()
	d := startDev(t)
	t.Cleanup(func() {
		d.interrupt()
		if err := <-d.done; err != nil {
			t.Errorf("dev ended with %v", err)
		}
	})
	return [2]string{fmt.Sprintf("ws://127.0.0.1:%d", d.port), fmt.Sprintf("ws://127.0.0.1:%d/ws", d.port+10)}
}

func TestVerifyACluster(t *testing.T) {
	routers := dev(t)
	dir := t.TempDir()
	events := filepath.Join(dir, "events")
	if err := os.WriteFile(events, []byte("one\n\ntwo \x1b[31m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "page.html")
	args := []string{"verify", "--url", routers[0], "--url", routers[1], "--rooms=5", "--members=4", "--rate=400", "--for=1s",
		"--events", events, "--html", page, "--reconnect", "--allow=gaps,resets"}
	if runtime.GOOS != "windows" {
		args = append(args, "--at", "200ms=echo out; exit 2")
	}
	out, errs, code := command(t.Context(), append(args, "--json")...)
	if code != process.Good {
		t.Fatalf("code %d\n%s%s", code, out, errs)
	}
	var r verify.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Held || r.Conns != 20 || r.Acked != 100 || r.Delivered != 400 || len(r.URLs) != 2 {
		t.Errorf("%s", out)
	}
	// Nobody waits for who reads the events, so on a busy machine the command may come first.
	if !slices.ContainsFunc(r.Events, func(e verify.Event) bool { return e.Name == "two ?[31m" }) {
		t.Errorf("events: %+v", r.Events)
	}
	for _, name := range []string{"held", "verdict", "lost", "doubled", "reordered", "invented", "altered", "disagree", "gaps", "resets", "closed",
		"reconnects", "resumed_whole", "unplaced", "taken", "pause_p50_ms", "pause_p99_ms", "pause_max_ms", "rooms", "pause_limit_ms", "paused_above"} {
		if !strings.Contains(out, fmt.Sprintf("%q:", name)) {
			t.Errorf("no %s in the JSON", name)
		}
	}
	if runtime.GOOS != "windows" && !strings.Contains(errs, "200ms: echo out; exit 2: exit code 2 after") {
		t.Errorf("stderr: %s", errs)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "<svg") {
		t.Errorf("page: %v %.100s", err, html)
	}
	out, _, code = command(t.Context(), "verify", "--url", routers[0], "--rooms=2", "--rate=100", "--for=300ms", "--no-progress")
	if code != process.Good || !strings.Contains(out, "The promises held: each of 6 messages") {
		t.Errorf("code %d\n%s", code, out)
	}
	out, _, code = command(t.Context(), "verify", "--url", routers[0], "--rooms=2", "--rate=100", "--for=300ms", "--no-progress", "--max-pause=1ns")
	if code != process.Failed || !strings.Contains(out, "The promises did not hold: 2 rooms paused for longer than") {
		t.Errorf("code %d\n%s", code, out)
	}
}

func TestVerifyFailsWithoutACluster(t *testing.T) {
	h := httptest.NewServer(http.NotFoundHandler())
	defer h.Close()
	out, errs, code := command(t.Context(), "verify", "--rooms=1", "--url", "ws"+strings.TrimPrefix(h.URL, "http"))
	if code != process.Failed || !strings.Contains(out, "The promises did not hold: no conn opened: ") || !strings.HasSuffix(errs, "roomring: a promise did not hold\n") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

func TestVerifyTells(t *testing.T) {
	var out bytes.Buffer
	say := &teller{line: statusLine{w: &out}}
	say.progress(verify.Progress{Phase: "connecting", Conns: 3, Want: 9})
	say.progress(verify.Progress{Phase: "connecting", Conns: 3, Want: 9, DialErrors: 6, FirstError: "refused"})
	say.progress(verify.Progress{Phase: "sending", Conns: 9, Want: 9, PerSecond: 12345, Missing: 1, Faults: 2, Event: "kill"})
	say.done(verify.Done{Command: verify.Command{At: time.Second, Line: "kill"}, ExitCode: 1, Output: "no such\nprocess\n", Took: 1234567})
	say.clear()
	want := `connecting: 3 of 9 conns
connecting: 3 of 9 conns, 6 tries failed, first: refused
sending: 9 of 9 conns, 12 345 deliveries/s, 1 missing, 2 FAULTS, after kill
1s: kill: exit code 1 after 1ms
  no such
  process
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	say.line.rewrite = true
	say.progress(verify.Progress{Phase: "sending", Event: strings.Repeat("long ", 50)})
	if s := out.String(); !strings.HasPrefix(s, "\r") || strings.Contains(s, "\n") || len([]rune(s)) > 90 {
		t.Errorf("on a terminal: %q", s)
	}
}
