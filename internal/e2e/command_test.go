//go:build linux

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command runs roomring to its end.
func command(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	p := start(t, "roomring", args...)
	code = p.exit(t, patience)
	return p.out.String(), p.log.String(), code
}

// devPort finds a port for dev, which takes it, the next one, and the two that are ten above.
func devPort(t *testing.T) int {
	t.Helper()
	return freePorts(t, 12, 0, 1, 10, 11)
}

func startDev(t *testing.T, port int) *process {
	t.Helper()
	p := start(t, "roomring", "dev", "--port", strconv.Itoa(port))
	p.waitOutput(t, p.out, "banner", patience, func(text string) bool { return strings.Contains(text, "Ctrl-C ends it.") })
	return p
}

func TestDev(t *testing.T) {
	t.Parallel()
	port := devPort(t)
	dev := startDev(t, port)
	urls := regexp.MustCompile(`(http|ws)://[^ '\s]+`).FindAllString(dev.out.String(), -1)
	for _, want := range []string{fmt.Sprintf("http://127.0.0.1:%d/", port), fmt.Sprintf("ws://127.0.0.1:%d/ws?room=NAME", port+10), fmt.Sprintf("http://127.0.0.1:%d/", port+11)} {
		if !slices.Contains(urls, want) {
			t.Errorf("%s is not among the printed URLs %q", want, urls)
		}
	}
	for _, url := range urls {
		if strings.HasPrefix(url, "http") {
			checkGet(t, url)
		}
	}
	one, two := dial(t, fmt.Sprintf("127.0.0.1:%d", port), "lobby"), dial(t, fmt.Sprintf("127.0.0.1:%d", port+10), "lobby")
	one.say("from one")
	two.waitHeard(1, patience)
	two.say("from two")
	one.waitHeard(2, patience)

	admin := fmt.Sprintf("127.0.0.1:%d", port+1)
	t.Run("ring", func(t *testing.T) {
		// A router is ready as soon as it serves; that a shard belongs to the cluster, it may learn later.
		wait := &node{id: "r1", admin: admin}
		eventually(t, "settled", patience, func() bool {
			got, err := wait.summary()
			return err == nil && got.Settled
		})
		out, errs, code := command(t, "ring", "--node", admin)
		if code != 0 || !strings.Contains(out, "3 shards and 2 routers alive; 4093 of 4093 partitions owned") || !strings.Contains(out, "; settled;") {
			t.Errorf("code %d, %s\n%s", code, errs, out)
		}
	})
	t.Run("room", func(t *testing.T) {
		out, errs, code := command(t, "room", "lobby", "--node", admin, "--json")
		var doc roomDocument
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 || doc.Offset != 2 || doc.Kept != 2 {
			t.Errorf("code %d, %s\n%s", code, errs, out)
		}
	})
	t.Run("bench", func(t *testing.T) { testBench(t, port) })
	t.Run("busy port", func(t *testing.T) {
		out, errs, code := command(t, "dev", "--port", strconv.Itoa(port))
		if want := fmt.Sprintf("roomring: port %d is in use by another program: stop it or use --port\n", port); code != 1 || errs != want || out != "" {
			t.Errorf("code %d, %q, %q", code, errs, out)
		}
	})
	endDev(t, dev, syscall.SIGINT, one, two)
	other := startDev(t, devPort(t))
	endDev(t, other, syscall.SIGTERM)
}

func checkGet(t *testing.T, url string) {
	t.Helper()
	answer, err := askClient.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || len(body) == 0 {
		t.Errorf("%s: %s, %v, %d bytes", url, answer.Status, err, len(body))
	}
}

func testBench(t *testing.T, port int) {
	urls := []string{"--url", fmt.Sprintf("ws://127.0.0.1:%d/ws?room={room}", port), "--url", fmt.Sprintf("ws://127.0.0.1:%d/ws?room={room}", port+10)}
	for scenario, args := range map[string][]string{
		"fanout": {"--members=20", "--rate=2000"},
		"rooms":  {"--rooms=10", "--rate=2000"},
		"idle":   {"--rooms=5", "--members=4"},
	} {
		args = slices.Concat([]string{"bench", scenario, "--for=500ms", "--json"}, args, urls)
		if scenario != "idle" {
			args = append(args, "--warm=0s")
		}
		out, errs, code := command(t, args...)
		var report struct {
			Conns                                  int
			Delivered, Lost, Doubled, Reordered    uint64
			Disagree                               int
			P50                                    float64 `json:"p50_ms"`
			P99                                    float64 `json:"p99_ms"`
			ConnectErrors, Closed, Foreign, Unsent int
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.Disagree != 0 || report.Conns < 20 {
			t.Errorf("%v: code %d, %s\n%s", args, code, errs, out)
		}
		t.Logf("%s: %+v", scenario, report)
	}
}

// endDev ends dev by a signal; members are told.
func endDev(t *testing.T, dev *process, s syscall.Signal, members ...*client) {
	t.Helper()
	began := time.Now()
	dev.signal(s)
	code := dev.exit(t, patience)
	took := time.Since(began)
	t.Logf("%s: dev ended after %.0f ms with code %d (promised: under 2 s)", s, float64(took.Milliseconds()), code)
	if code != 0 || took > 5*time.Second {
		t.Error("too late, or badly")
	}
	for _, m := range members {
		if e := m.waitEnd(patience); e.code != 1012 {
			t.Errorf("a member of dev ended with %s, want 1012", e)
		}
	}
}

func TestKeyCommand(t *testing.T) {
	t.Parallel()
	out, errs, code := command(t, "key")
	key := strings.TrimSpace(out)
	secret(key)
	if b, err := base64.StdEncoding.DecodeString(key); code != 0 || errs != "" || err != nil || len(b) != 32 {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	p := start(t, "roomring-shard", "--cluster-key", key, "--print-config")
	if code := p.exit(t, patience); code != 0 || strings.Contains(p.out.String(), key) {
		t.Errorf("--print-config: code %d, key shown: %v", code, strings.Contains(p.out.String(), key))
	}
}

// TestWrongUse gives the programs what they cannot take.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().String()
	tests := []struct {
		program, args string
		code          int
		says          string
	}{
		{"roomring", "fly", 2, "--help"},
		{"roomring", "dev --port=0", 2, "--port"},
		{"roomring", "bench", 2, "--help"},
		{"roomring", "ring --node=x", 2, "--node"},
		{"roomring", "ring --node=127.0.0.1:1", 1, "nothing answers"},
		{"roomring-router", "--window=lots", 2, "--window"},
		{"roomring-router", "--listen=0.0.0.0:0", 2, "--auth none"},
		{"roomring-router", "--history-age=5m", 2, "history-age"},
		{"roomring-router", "stray", 2, "stray"},
		{"roomring-shard", "--link=0.0.0.0:0", 2, "--link"},
		{"roomring-shard", "--cluster-key=short", 2, "--cluster-key"},
		{"roomring-shard", "--admin=0.0.0.0:0", 2, "--admin-token"},
		{"roomring-shard", "--config=/nonexistent/file", 2, "--config"},
		{"roomring-shard", "--gossip=127.0.0.1:0 --admin=127.0.0.1:0 --link=" + taken, 1, "--link"},
		{"roomring-shard", "--link=127.0.0.1:0 --admin=127.0.0.1:0 --gossip=" + taken, 1, "--gossip"},
		{"roomring-router", "--link=127.0.0.1:0 --admin=127.0.0.1:0 --gossip=127.0.0.1:0 --listen=" + taken, 1, "--listen"},
		{"roomring-router", "--link=127.0.0.1:0 --listen=127.0.0.1:0 --gossip=127.0.0.1:0 --admin=" + taken, 1, "--admin"},
	}
	for _, test := range tests {
		p := start(t, test.program, strings.Fields(test.args)...)
		code := p.exit(t, patience)
		if text := p.log.String(); code != test.code || !strings.Contains(text, test.says) || !strings.HasPrefix(tail(text, 2), test.program+": ") && !strings.HasPrefix(tail(text, 1), test.program+": ") {
			t.Errorf("%s %s: code %d, want %d and %q:\n%s", test.program, test.args, code, test.code, test.says, text)
		}
	}
}
