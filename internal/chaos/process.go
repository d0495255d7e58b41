//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// starter starts all processes from one thread, which lives as long as this process: each is killed when
// the thread ends, and the thread can enter other network namespaces.
type starter struct {
	jobs chan func()
}

func newStarter() *starter {
	s := &starter{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// start starts a command, in the network namespace of that name; "" is that of this process.
func (s *starter) start(namespace string, cmd *exec.Cmd) (err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		if namespace == "" {
			err = cmd.Start()
		} else {
			err = inNamespace(namespace, cmd.Start)
		}
	}
	<-done
	return err
}

// run starts a command, and waits for its end. What it wrote is returned, and in the error.
func (s *starter) run(namespace string, cmd *exec.Cmd) (string, error) {
	out := &headWriter{max: 16 << 10}
	cmd.Stdout, cmd.Stderr = out, out
	err := s.start(namespace, cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %.2000s", cmd, err, out)
	}
	return out.String(), nil
}

// inNamespace calls f on this thread, which is in that network namespace meanwhile.
func inNamespace(name string, f func() error) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(namespaceDir + name)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("leave namespace %s: %v", name, err)) // all that follows would be in the wrong place
		}
	}()
	return f()
}

// process is a program that runs.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // file with what it wrote to stderr
	done chan struct{} // closed when it has ended
	want bool          // its end is wanted
}

// launch starts a program whose stderr goes to a file.
func (s *starter) launch(namespace, name, log string, cmd *exec.Cmd) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stderr = f
	if err := s.start(namespace, cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) {
	p.cmd.Process.Signal(s) // it may have ended
}

// kill ends the process at once, and waits until it has.
func (p *process) kill() {
	p.want = true
	p.signal(syscall.SIGKILL)
	<-p.done
}

// exit waits for the process to end by itself, with code 0.
func (p *process) exit(within time.Duration) error {
	select {
	case <-p.done:
	case <-time.After(within):
		return fmt.Errorf("%s does not end within %s", p.name, within)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %s, wanted was exit status 0", p.name, p.cmd.ProcessState)
	}
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// headWriter keeps the first bytes that are written to it.
type headWriter struct {
	max  int
	text []byte
}

func (w *headWriter) Write(b []byte) (int, error) {
	w.text = append(w.text, b[:min(len(b), w.max-len(w.text))]...)
	return len(b), nil
}

func (w *headWriter) String() string { return string(w.text) }
