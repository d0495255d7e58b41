//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stage is where the servers of one run live: their core, their ports, and a directory of their own.
type stage struct {
	dir    string
	cores  cores
	ports  *ports
	conns  int      // clients that will come
	env    []string // for the servers, beside what this process has
	all    []*process
	admins []admin // of Roomring's nodes
}

// admin is where a node of Roomring answers questions.
type admin struct {
	node string
	port int
}

// process is a server that was started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // path of what it says
	done chan struct{}
}

// start runs a program on the servers' core. It must be called on the thread of main: the program is
// ended by the kernel when that thread does, however this process ends.
func (s *stage) start(name, program string, args ...string) error {
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{name: name, cmd: exec.Command(program, args...), log: log.Name(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.dir, log, log
	p.cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), s.env...)
	// A group of its own: its children can be found and ended, and a terminal's interrupt is for us.
	// SIGTERM, since a master that gets SIGKILL leaves its workers behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	err = onCore(s.cores.servers, p.cmd.Start)
	if p.cmd.Process == nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.all = append(s.all, p)
	go func() {
		_ = p.cmd.Wait() // how it ended is nobody's concern
		close(p.done)
	}()
	return err
}

// stop ends all processes of the stage at once, and waits until they have.
func (s *stage) stop() {
	for _, p := range s.all {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	for _, p := range s.all {
		<-p.done
	}
	s.all = nil
}

// servers is the group of what runs on the stage.
func (s *stage) servers() *group {
	g := &group{names: map[int]string{}}
	for _, p := range s.all {
		g.names[p.cmd.Process.Pid] = p.name
	}
	return g
}

// startWithin bounds how long servers may take until they serve.
const startWithin = 60 * time.Second

// wait asks every 20 ms until ready says yes. The error says what a process that ended has said.
func (s *stage) wait(ctx context.Context, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ready() {
		if err := s.ended(); err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%s: not within %s", what, startWithin)
			}
			return ctx.Err()
		}
	}
	return nil
}

// ended returns what the first process said that is not running any more.
func (s *stage) ended() error {
	for _, p := range s.all {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%s): %s", p.name, p.cmd.ProcessState, p.lastWords())
		default:
		}
	}
	return nil
}

func (p *process) lastWords() string {
	const most = 2000
	text, _ := os.ReadFile(p.log)
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// waitPort waits until somebody accepts conns at the port.
func (s *stage) waitPort(ctx context.Context, port int) error {
	return s.wait(ctx, fmt.Sprintf("open port %d", port), func() bool {
		c, err := net.DialTimeout("tcp4", loopback(port), time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// ports hands out ports of 127.0.0.1 that are free for TCP and UDP, and none again before all others.
type ports struct{ first, count, next int }

func (p *ports) take() (int, error) {
	for range p.count {
		port := p.first + p.next%p.count
		p.next++
		if portFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", p.first, p.first+p.count-1)
}

func (p *ports) takeAll(into ...*int) (err error) {
	for _, port := range into {
		if *port, err = p.take(); err != nil {
			return err
		}
	}
	return nil
}

func portFree(port int) bool {
	t, err := net.Listen("tcp4", loopback(port))
	if err != nil {
		return false
	}
	u, err := net.ListenPacket("udp4", loopback(port))
	if err == nil {
		_ = u.Close()
	}
	_ = t.Close()
	return err == nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// build makes the programs of Roomring.
func build(ctx context.Context, dir string, says io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", modulePath+"/cmd/roomring-router", modulePath+"/cmd/roomring-shard")
	cmd.Stdout, cmd.Stderr = says, says
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build Roomring: %w", err)
	}
	return nil
}

const modulePath = "github.com/roomring/roomring"
