//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The guard is the process that was started. It builds the programs, and holds the stage: a second
// process of this program in which everything happens, the first one in namespaces of its own. When the
// stage ends, the kernel kills whatever is left in its process namespace, and takes away its mounts, its
// network namespaces, and so every bridge, link and rule in them. When the guard ends, by whatever
// signal, the kernel kills the stage. What can be left by a guard that was killed is one directory, which
// the next run removes.

// stageEnv tells the stage that it is one: the directory of the run, its seed, and where it is.
const stageEnv = "CHAOS_STAGE"

// Exit codes, of both processes.
const (
	exitGood      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitNoNetwork = 3 // the stage only: namespaces are of no use here, try without

	exitInterrupted = 130
)

var errInterrupted = errors.New("interrupted")

type guard struct {
	options *options
	dir     string // programs, data and logs of this run
	lock    *os.File
	signals chan os.Signal
}

func runGuard(o *options) int {
	g := &guard{options: o, signals: make(chan os.Signal, 4)}
	signal.Notify(g.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	sweep(os.TempDir())
	defer g.remove()
	switch err := g.prepare(); {
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return exitFailed
	}
	code := g.run()
	if code == exitFailed || code == exitGood && o.keep {
		g.keepLogs()
	}
	if code == exitFailed {
		fmt.Println("again:", o.again())
	}
	return code
}

// dirPrefix begins the name of every run's directory.
const dirPrefix = "roomring-chaos-"

// prepare makes the run's directory, locks it, and builds the programs into it.
func (g *guard) prepare() (err error) {
	if g.dir, err = os.MkdirTemp("", dirPrefix); err != nil {
		return err
	}
	if g.lock, err = lock(g.dir); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(g.dir, "logs"), 0o755); err != nil {
		return err
	}
	return g.build()
}

func (g *guard) build() error {
	out := &headWriter{max: 4000}
	build := exec.Command("go", "build", "-o", g.dir, "github.com/roomring/roomring/cmd/...")
	build.Stdout, build.Stderr = out, out
	build.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := build.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- build.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("build the programs (is this the repository?): %w\n%s", err, out)
		}
		return nil
	case <-g.signals:
		syscall.Kill(-build.Process.Pid, syscall.SIGKILL)
		<-done
		return errInterrupted
	}
}

// lock marks a directory as that of a process that lives.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes the directories of runs that were killed: nobody holds their locks.
func sweep(parent string) {
	list, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, dir := range list {
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Second {
			continue // perhaps not locked yet
		}
		if f, err := lock(dir); err == nil {
			os.RemoveAll(dir)
			f.Close()
		}
	}
}

func (g *guard) remove() {
	os.RemoveAll(g.dir)
	if g.lock != nil {
		g.lock.Close()
	}
}

// run runs the stage in namespaces, or without where there are none.
func (g *guard) run() int {
	code, err := g.stage(true)
	if err == nil && code != exitNoNetwork {
		return code
	}
	if err != nil {
		fmt.Println("no namespaces:", err)
	}
	if g.options.network {
		fmt.Println("faults of the network were required")
		return exitFailed
	}
	code, err = g.stage(false)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return exitFailed
	}
	return code
}

// stage runs the second process to its end, and returns its exit code.
func (g *guard) stage(apart bool) (code int, err error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %t %s", stageEnv, g.options.seed, apart, g.dir))
	// A group of its own: of a terminal's signals the guard hears, and passes them on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if apart {
		separate(cmd.SysProcAttr)
	}
	runtime.LockOSThread() // Pdeathsig comes when this thread ends
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if err := g.hold(cmd); err != nil {
		return 0, err
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	fmt.Println("the stage did not end by itself:", cmd.ProcessState)
	return exitFailed, nil
}

// hold waits until the stage has ended, and asks it to when we are asked to.
func (g *guard) hold(stage *exec.Cmd) error {
	done := make(chan error, 1)
	go func() { done <- stage.Wait() }()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	parent := os.Getppid()
	byGo := commandOf(parent) == "go" // go run does not pass on a SIGTERM, it ends of it
	for asked := false; ; {
		select {
		case err := <-done:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return nil
			}
			return err
		case s := <-g.signals:
			if asked {
				stage.Process.Kill()
			}
			asked = true
			fmt.Printf("%s: ending; once more to end at once\n", s)
			stage.Process.Signal(syscall.SIGTERM)
		case <-look.C:
			if asked = asked || byGo && os.Getppid() != parent; asked {
				stage.Process.Signal(syscall.SIGTERM) // again: the first process of a namespace is deaf until it listens
			}
		}
	}
}

// separate asks for namespaces; for who is not root, in a namespace of users.
func separate(a *syscall.SysProcAttr) {
	a.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
	if uid := os.Geteuid(); uid != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
}

func commandOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

// keepLogs moves the nodes' logs to where they outlive the run.
func (g *guard) keepLogs() {
	from, to := filepath.Join(g.dir, "logs"), g.options.logs
	if list, err := os.ReadDir(from); err != nil || len(list) == 0 {
		return // it did not come so far
	}
	err := os.Rename(from, to)
	if err != nil { // it exists, or is on another file system
		err = os.CopyFS(to, os.DirFS(from))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the logs could not be kept:", err)
		return
	}
	fmt.Println("logs:", to)
}
