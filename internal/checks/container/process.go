//go:build linux

package container

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a container that runs, or has run.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  output
	done chan struct{}
}

// Start runs a container until it ends, or the test does.
func (s Spec) Start(t testing.TB) *Process {
	t.Helper()
	p, err := s.start(t.TempDir())
	if err != nil {
		t.Fatalf("start %s: %v", strings.Join(s.Args, " "), err)
	}
	t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.tail(40))
		}
	})
	return p
}

func (s *Spec) start(dir string) (*Process, error) {
	for _, name := range []string{"layer", "root"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(started{Spec: *s, Joins: s.Network != nil})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, specName), text, 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{name: strings.Join(s.Args, " "), cmd: exec.Command(self), done: make(chan struct{})}
	p.cmd.Env = []string{initEnv + "=" + dir}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS)
	if s.Network == nil {
		flags |= syscall.CLONE_NEWNET
	} else {
		p.cmd.ExtraFiles = []*os.File{s.Network.file}
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := fromOneThread(p.cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has it
		close(p.done)
	}()
	return p, nil
}

// starts is the thread that starts all containers.
var starts = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// fromOneThread runs f on a thread that stays: a container is killed with the thread that started it, and those
// of the runtime come and go.
func fromOneThread(f func() error) error {
	done := make(chan error, 1)
	starts() <- func() { done <- f() }
	return <-done
}

// Run runs a container to its end, and returns its exit code and what it wrote.
func (s Spec) Run(t testing.TB, within time.Duration) (code int, output string) {
	t.Helper()
	p := s.Start(t)
	return p.Exit(t, within), p.Output()
}

// Exit waits for the end, and returns the exit code.
func (p *Process) Exit(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s does not end within %s:\n%s", p.name, within, p.tail(20))
	}
	return p.cmd.ProcessState.ExitCode()
}

// Ended tells whether it has.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to its first process.
func (p *Process) Signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended
}

// PID is its first process's, as seen from the test.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is what it has written, to both outputs.
func (p *Process) Output() string { return p.out.String() }

func (p *Process) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(p.Output()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// output collects what a container writes.
type output struct {
	mu   sync.Mutex
	text []byte
}

// maxOutput bounds what is kept of one container.
const maxOutput = 4 << 20

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b[:min(len(b), maxOutput-len(o.text))]...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
