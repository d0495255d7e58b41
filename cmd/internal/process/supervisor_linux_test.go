package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// manager is a service manager's end.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

// newManager listens at a path, or at an abstract name.
func newManager(t *testing.T, abstract bool) (*manager, string) {
	t.Helper()
	address := filepath.Join(t.TempDir(), "notify")
	if abstract {
		address = fmt.Sprintf("@roomring-%d-%s", os.Getpid(), t.Name())
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t, conn}, address
}

// hear returns the next word.
func (m *manager) hear() string {
	m.t.Helper()
	b := make([]byte, 4096)
	if err := m.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b[:n])
}

// want hears words until that one comes, and returns those before it.
func (m *manager) want(word string) (before []string) {
	m.t.Helper()
	for {
		heard := m.hear()
		if heard == word {
			return before
		}
		if before = append(before, heard); len(before) > 1000 {
			m.t.Fatalf("no %q, but %q", word, before[:10])
		}
	}
}

// patient is a node that answers what it is told to.
type patient struct {
	sync.Mutex
	line    string
	leaving bool
	err     error
}

func (p *patient) be(line string, leaving bool, err error) {
	p.Lock()
	defer p.Unlock()
	p.line, p.leaving, p.err = line, leaving, err
}

func (p *patient) Status() (string, bool) {
	p.Lock()
	defer p.Unlock()
	return p.line, p.leaving
}

func (p *patient) Answer(context.Context) error {
	p.Lock()
	defer p.Unlock()
	return p.err
}

var errStuck = errors.New("stuck")

// watched starts a supervisor's Watch over a node, until the test ends or end is called.
func watched(t *testing.T, address string, n *patient, more ...string) (s *Supervisor, drain chan struct{}, end func()) {
	t.Helper()
	s = NewSupervisor(environment(append(more, "NOTIFY_SOCKET="+address)...), zap.NewNop())
	s.every = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	drain, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx, n, drain)
	}()
	end = func() {
		cancel()
		<-done
	}
	t.Cleanup(end)
	return s, drain, end
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// TestSupervisorIsTold follows a node through its life.
func TestSupervisorIsTold(t *testing.T) {
	for _, abstract := range []bool{false, true} {
		t.Run(fmt.Sprintf("abstract=%t", abstract), func(t *testing.T) {
			m, address := newManager(t, abstract)
			n := &patient{line: "not ready: no_table", err: errStuck}
			s, drain, _ := watched(t, address, n)
			s.Reload(func() {}) // too early to be told
			if word := m.hear(); word != "STATUS=does not answer" {
				t.Fatalf("a node that has not answered yet: %q", word)
			}
			n.be("not ready: no_table", false, nil)
			if before := m.want("READY=1"); len(before) != 0 {
				t.Errorf("before it is up: %q", before)
			}
			if word := m.hear(); word != "STATUS=not ready: no_table" {
				t.Error(word)
			}
			n.be("ready", false, nil)
			if word := m.hear(); word != "STATUS=ready" {
				t.Error(word)
			}
			reloads(t, m, s)
			close(drain)
			if word := m.hear(); word != "STOPPING=1" {
				t.Error(word)
			}
			n.be("not ready: draining", true, nil)
			if before := m.want("STATUS=not ready: draining"); len(before) > 1 {
				t.Error(before)
			}
			m.want("EXTEND_TIMEOUT_USEC=15000000")
		})
	}
}

func reloads(t *testing.T, m *manager, s *Supervisor) {
	t.Helper()
	before, read := monotonic(), false
	s.Reload(func() { read = true })
	first, second, _ := strings.Cut(m.hear(), "\n")
	usec, _ := strconv.ParseInt(strings.TrimPrefix(second, "MONOTONIC_USEC="), 10, 64)
	at := time.Duration(usec) * time.Microsecond
	if first != "RELOADING=1" || at < before.Truncate(time.Microsecond) || at > monotonic() {
		t.Errorf("%q %q, and it was %v", first, second, before)
	}
	if word := m.hear(); word != "READY=1" || !read {
		t.Errorf("%q, and it was read: %t", word, read)
	}
}

// TestSupervisorHearsWhoLeavesUnasked: an operator has it drain, or it fails.
func TestSupervisorHearsWhoLeavesUnasked(t *testing.T) {
	m, address := newManager(t, false)
	n := &patient{line: "ready"}
	_, _, end := watched(t, address, n)
	m.want("STATUS=ready")
	n.be("not ready: draining", true, nil)
	if before := m.want("STOPPING=1"); len(before) != 1 {
		t.Error(before)
	}
	end()

	m, address = newManager(t, false)
	_, _, end = watched(t, address, &patient{line: "ready"})
	m.want("STATUS=ready")
	end()
	if word := m.hear(); word != "STOPPING=1" {
		t.Errorf("the end: %q", word)
	}
}

// TestWatchdogHearsAnswersOnly: nothing is said for a node that does not answer, and all is well when it
// does again.
func TestWatchdogHearsAnswersOnly(t *testing.T) {
	m, address := newManager(t, false)
	n := &patient{line: "ready"}
	watched(t, address, n, "WATCHDOG_USEC=40000", "WATCHDOG_PID="+strconv.Itoa(os.Getpid()))
	m.want("WATCHDOG=1")
	m.want("WATCHDOG=1")
	n.be("ready", false, errStuck)
	m.want("STATUS=does not answer")
	n.be("ready, but stuck", false, errStuck)
	if err := m.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil { // five times its patience
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if size, err := m.conn.Read(b); err == nil {
		t.Errorf("a node that does not answer: %q", b[:size])
	}
	n.be("ready", false, nil)
	if before := m.want("WATCHDOG=1"); len(before) != 1 || before[0] != "STATUS=ready" {
		t.Error(before)
	}
}

func TestWatchdogTime(t *testing.T) {
	self, other := "WATCHDOG_PID="+strconv.Itoa(os.Getpid()), "WATCHDOG_PID=1"
	for _, test := range []struct {
		env  []string
		want time.Duration
	}{
		{nil, 0},
		{[]string{"WATCHDOG_USEC=60000000"}, time.Minute},
		{[]string{"WATCHDOG_USEC=60000000", self}, time.Minute},
		{[]string{"WATCHDOG_USEC=60000000", other}, 0},
		{[]string{"WATCHDOG_USEC=0"}, 0},
		{[]string{"WATCHDOG_USEC=-1"}, 0},
		{[]string{"WATCHDOG_USEC=soon"}, 0},
		{[]string{"WATCHDOG_USEC=18446744073709551615"}, 0},
		{[]string{"WATCHDOG_USEC=9223372036854775807"}, 0},
	} {
		if got := watchdogTime(environment(test.env...)); got != test.want {
			t.Errorf("%q: %v, want %v", test.env, got, test.want)
		}
	}
}

// TestNoSupervisor: without one, or with one that is not there, a node runs all the same.
func TestNoSupervisor(t *testing.T) {
	for address, warnings := range map[string]int{
		"": 0, "notify": 1, "@": 1, "vsock:2:1234": 1,
		filepath.Join(t.TempDir(), "nobody"): 1, // said once, however often it is tried
	} {
		core, logs := observer.New(zap.WarnLevel)
		s := NewSupervisor(environment("NOTIFY_SOCKET="+address), zap.New(core))
		ctx, end := context.WithCancel(t.Context())
		end()
		s.Watch(ctx, &patient{line: "ready"}, nil)
		if s.send != nil {
			s.say("STATUS=ready")
		}
		read := false
		s.Reload(func() { read = true })
		if !read || logs.FilterMessage("service manager not told").Len() != warnings {
			t.Errorf("%q: read %t, %v", address, read, logs.All())
		}
	}
}
