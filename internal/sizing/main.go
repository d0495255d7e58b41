//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// Servers are ended by the kernel when the thread ends that started them: it must be one that lasts.
func init() { runtime.LockOSThread() }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options is the command line.
type options struct {
	quick    bool
	rounds   int
	into     string
	programs string
}

func parse(args []string, says io.Writer) (o options, err error) {
	f := flag.NewFlagSet("sizing", flag.ContinueOnError)
	f.SetOutput(says)
	f.BoolVar(&o.quick, "quick", false, "a hundredth of everything, once: does it run? The figures are of no use")
	f.IntVar(&o.rounds, "rounds", 3, "how often everything is measured; the tables have the medians")
	f.StringVar(&o.into, "into", "", "put the tables into this `file` too, between its two marks")
	f.StringVar(&o.programs, "bin", "", "`directory` with roomring-router and roomring-shard (default: build them)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected %q", f.Arg(0))
	case o.rounds < 1:
		err = errors.New("-rounds: want 1 or more")
	case o.quick && o.into != "":
		err = errors.New("-quick has no figures for -into")
	}
	return o, err
}

// run is the whole program. It returns 0, 1 when something failed, or 2 when it was asked for nonsense.
func run(args []string, out, says io.Writer) int {
	o, err := parse(args, says)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(says, "sizing:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := size(ctx, o, out, says); err != nil {
		fmt.Fprintln(says, "sizing:", err)
		return 1
	}
	return 0
}

// conns is how many clients there are at most, and descriptors what a process with so many may need.
const (
	conns       = 10_000
	descriptors = conns + 600
)

func size(ctx context.Context, o options, out, says io.Writer) error {
	dir, err := os.MkdirTemp("", "roomring-sizing-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l := &lab{settings: settings{rest: 10 * time.Second, watch: 10 * time.Second, busy: 8 * time.Second, shrink: 1, rounds: o.rounds, dir: dir, says: says}}
	if o.quick {
		l.rest, l.watch, l.busy, l.shrink, l.rounds = 200*time.Millisecond, 300*time.Millisecond, 3*time.Second, 100, 1
	}
	if may := raiseDescriptors(); may < descriptors && !o.quick {
		return fmt.Errorf("a process may have %d descriptors here, and this takes %d: raise ulimit -Hn", may, descriptors)
	}
	if l.ca, err = newAuthority(dir); err != nil {
		return err
	}
	if err := l.programs(ctx, o.programs); err != nil {
		return err
	}
	if err := l.measure(ctx); err != nil {
		return err
	}
	text := l.tables(describe(runtime.Version(), runtime.NumCPU()), time.Now().UTC())
	if _, err := io.WriteString(out, text); err != nil || o.into == "" {
		return err
	}
	return insert(o.into, text)
}

// raiseDescriptors takes as many descriptors as this process may have.
func raiseDescriptors() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	limit.Cur = limit.Max
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Max, 1<<30))
}

// build makes the nodes' programs.
func build(ctx context.Context, dir string, says io.Writer) error {
	const module = "github.com/roomring/roomring"
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", module+"/cmd/roomring-router", module+"/cmd/roomring-shard")
	cmd.Stdout, cmd.Stderr = says, says
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build Roomring: %w", err)
	}
	return nil
}
