//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for what should take moments: it is far above what that takes on a busy
// machine, so that only a bug reaches it.
const patience = time.Minute

// process is a program that runs, and what it said.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output // stdout
	log  *output // stderr
	done chan struct{}
	err  error // of Wait; set when done is closed
}

// all is every process of this run, for the end.
var all struct {
	sync.Mutex
	processes []*process
	secrets   []string
}

// start runs a program until the test ends.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	return startCommand(t, program, exec.Command(filepath.Join(programs, program), args...))
}

func startCommand(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	return startCommandWith(t, name, cmd, 0)
}

// startCommandWith is startCommand in namespaces of its own, as clone(2) has their flags.
func startCommandWith(t *testing.T, name string, cmd *exec.Cmd, namespaces uintptr) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, out: newOutput(), log: newOutput(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: namespaces}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all.Lock()
	all.processes = append(all.processes, p)
	all.Unlock()
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s %s:\n%s", p.name, strings.Join(cmd.Args[1:], " "), tail(p.log.String(), 30))
		}
	})
	return p
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// kill ends the process at once, and waits until it has.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.signal(syscall.SIGCONT)
	<-p.done
}

func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended
}

// exit waits for the process to end by itself, and returns its exit code.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s does not end within %s", p.name, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// memory is what the process has in memory now, in bytes.
func (p *process) memory(t *testing.T) int64 {
	t.Helper()
	return residentOf(t, p.cmd.Process.Pid)
}

func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// cpu is the time that the process has used.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const perSecond = 100 // USER_HZ, the same on all of Linux
	return time.Duration(user+system) * time.Second / perSecond
}

// killAll ends what still runs.
func killAll() {
	all.Lock()
	defer all.Unlock()
	for _, p := range all.processes {
		p.kill()
	}
}

// secret tells that s must not be in any log.
func secret(s string) string {
	all.Lock()
	defer all.Unlock()
	all.secrets = append(all.secrets, s)
	return s
}

// searchLogs returns the names of the processes that wrote a secret.
func searchLogs() (leaks []string) {
	all.Lock()
	defer all.Unlock()
	for _, p := range all.processes {
		for _, s := range all.secrets {
			if strings.Contains(p.log.String(), s) {
				leaks = append(leaks, p.name+": "+s[:4]+"…")
			}
		}
	}
	return leaks
}

// output collects what a process writes.
type output struct {
	mu      sync.Mutex
	text    []byte
	lost    int           // bytes that did not fit
	changed chan struct{} // closed at the next write
}

// maxOutput bounds what is kept of one process.
const maxOutput = 32 << 20

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := maxOutput - len(o.text); len(b) > room {
		o.lost += len(b) - room
		o.text = append(o.text, b[:room]...)
	} else {
		o.text = append(o.text, b...)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) look() (string, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text), o.changed
}

// waitOutput waits until f finds what it looks for in what was written, or the process ends.
func (p *process) waitOutput(t *testing.T, o *output, what string, within time.Duration, f func(text string) bool) {
	t.Helper()
	timeout := time.After(within)
	for {
		text, changed := o.look()
		if f(text) {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if !f(o.String()) {
				t.Fatalf("%s ended (%v) before %s:\n%s%s", p.name, p.err, what, tail(p.out.String(), 20), tail(p.log.String(), 20))
			}
		case <-timeout:
			t.Fatalf("%s: no %s within %s", p.name, what, within)
		}
	}
}

// entry is a line of a node's log.
type entry struct {
	Level, Message string
	Node, Error    string
	Addresses      struct{ Link, Gossip, Admin, Listen string }
	line           string
}

// entries returns the log, as far as it is whole lines. A line that is not JSON is a fault.
func (p *process) entries(t *testing.T) []entry {
	t.Helper()
	var list []entry
	lines := strings.SplitAfter(p.log.String(), "\n")
	for _, line := range lines[:len(lines)-1] {
		e := entry{line: strings.TrimSpace(line)}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%s: log line %q: %v", p.name, line, err)
		}
		list = append(list, e)
	}
	return list
}

// eventually waits until f reports true; it is for what tells nobody when it happens.
func eventually(t *testing.T, what string, within time.Duration, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !f() {
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		<-again.C
	}
	return time.Since(began)
}
