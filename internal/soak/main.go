package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitFlat   = 0
	exitBroken = 1
	exitUsage  = 2 // or it could not be run
)

// leastMove: when partitions move again before rooms may be forgotten, there are ever more.
const leastMove = 40 * time.Second

// options are what the command line says.
type options struct {
	time   time.Duration // how long there is churn
	move   time.Duration // a shard joins or drains this often
	sample time.Duration // processes are measured this often
	rate   float64       // conns that come, per second
	json   string        // file of the report; "" for none
	keep   string        // directory for logs and profiles; "" for none
	quiet  bool          // no progress
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "soak:", err)
		}
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	stop()
	os.Exit(code)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.DurationVar(&o.time, "for", 10*time.Minute, "how long there is churn, 30s or more")
	f.DurationVar(&o.move, "move", time.Minute, "how often a shard joins or drains; 0 for never")
	f.DurationVar(&o.sample, "sample", 5*time.Second, "how often processes are measured")
	f.Float64Var(&o.rate, "rate", 200, "conns that come, per second")
	f.StringVar(&o.json, "json", "", "`FILE` for the report with all samples")
	f.StringVar(&o.keep, "keep", "", "`DIR` for the logs of all nodes, and for profiles of the steady ones, early and at the end")
	f.BoolVar(&o.quiet, "quiet", false, "no progress, only what is wrong")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected %q", f.Arg(0))
	case o.time < 30*time.Second:
		return o, errors.New("-for: want 30s or more")
	case o.move != 0 && o.move < leastMove:
		return o, fmt.Errorf("-move: want %s or more, or 0: a shard forgets no room of a partition that moved within 30 s", leastMove)
	case o.sample < time.Second || o.sample > o.time/20:
		return o, errors.New("-sample: want a second or more, and 20 of them")
	case o.rate < 1 || o.rate > 2000:
		return o, errors.New("-rate: want 1 to 2000")
	}
	return o, nil
}

// run does it all. What is wrong goes to errs, also when nobody wants to hear of the progress. The error
// says why there is no verdict.
func run(ctx context.Context, o options, out, errs io.Writer) (code int, err error) {
	progress := errs
	if o.quiet {
		progress = io.Discard
	}
	c, err := newCluster(ctx, o.keep, progress)
	if err != nil {
		return exitUsage, err
	}
	defer c.end()
	if err := c.found(ctx); err != nil {
		return exitUsage, err
	}
	r, err := soak(ctx, o, c, progress, errs)
	if err != nil {
		if ctx.Err() == nil {
			c.tellLogs(errs)
		}
		return exitUsage, err
	}
	r.print(out)
	if o.json != "" {
		if err := r.write(o.json); err != nil {
			return exitUsage, err
		}
	}
	if !r.Flat || !r.Whole {
		c.tellLogs(errs)
		return exitBroken, nil
	}
	if r.Counts.Late > 0 {
		return exitUsage, errors.New("no verdict: the machine has too much to do, conns ended because this process was late")
	}
	return exitFlat, nil
}

// soak has churn, moves and samples go on for the time given. Interrupted, it fails.
func soak(ctx context.Context, o options, c *cluster, progress, errs io.Writer) (*report, error) {
	began := time.Now()
	quit, stop := context.WithCancel(ctx)
	defer stop()
	c.giveUp = stop
	churning, over := context.WithTimeout(quit, o.time)
	defer over()
	var measuring sync.WaitGroup
	defer measuring.Wait()
	alive, die := context.WithCancel(ctx)
	defer die()
	canary, err := newCanary(alive, &measuring)
	if err != nil {
		return nil, err
	}
	h := newChurn(c, canary, o.rate)
	h.tally.tell = errs
	h.tally.when = func() string { return fmt.Sprintf("%.1f s, %s", time.Since(began).Seconds(), c.phase()) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.run(quit, churning)
	}()
	moves := make(chan int, 1)
	go func() { moves <- c.move(churning, o.move) }()
	samples := c.watch(churning, o, began, h, progress)
	<-done
	moved := <-moves
	seen := h.tally.end()
	err = c.failed()
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		seen.print(errs)
		return nil, err
	}
	return judge(o, samples, seen, moved), nil
}
