//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// stage is where a run takes place, and how far it is.
type stage struct {
	ctx     context.Context // ended by a signal
	options *options
	dir     string
	starter *starter
	network *network // nil on loopback
	lacking string   // why there is none

	// Of the round that is under way.
	cluster *cluster
	traffic *traffic
	began   time.Time
	event   int
	steps   []step
	serious []string // what broke, besides what verify saw
}

// runStage is the second process: see guard.go.
func runStage(o *options, place string) int {
	s := &stage{options: o, starter: newStarter()}
	var apart bool
	if _, err := fmt.Sscanf(place, "%d %t %s", &o.seed, &apart, &s.dir); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", stageEnv, "is not from a guard:", err)
		return exitUsage
	}
	os.Unsetenv(stageEnv)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s.ctx = ctx
	if apart {
		if err := s.open(); err != nil {
			fmt.Println("no network of our own:", err)
			return exitNoNetwork
		}
	} else {
		s.lacking = "there are no namespaces"
	}
	run := s.runSchedule
	if o.table {
		run = s.runTable
	}
	switch err := run(); {
	case ctx.Err() != nil:
		fmt.Println("interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Println("FAILED:", err)
		return exitFailed
	}
	return exitGood
}

// open makes the namespaces' content.
func (s *stage) open() (err error) {
	if err := hide(); err != nil {
		return err
	}
	if err := tools(); err != nil {
		return err
	}
	s.network, err = openNetwork(s.starter)
	return err
}

// lacks says why a fault cannot be had here; nil if it can.
func (s *stage) lacks(f *fault) error {
	switch {
	case f.needs&(needNetwork|needMount) != 0 && s.network == nil:
		return errors.New(s.lacking)
	case f.needs&needLoss != 0 && s.network.loss != nil:
		return s.network.loss
	case f.needs&needSlow != 0 && s.network.slow != nil:
		return s.network.slow
	}
	return nil
}

// choose returns the faults that are wanted and can be had, and names the others.
func (s *stage) choose() (list []fault, err error) {
	for _, f := range faults {
		if len(s.options.only) > 0 && !slices.Contains(s.options.only, f.name) {
			continue
		}
		if why := s.lacks(&f); why != nil {
			fmt.Printf("skipped: %s: %v\n", f.name, why)
			err = fmt.Errorf("%s cannot be had here, and was required", f.name)
			continue
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		return nil, errors.New("none of the faults can be had here")
	}
	if !s.options.network {
		err = nil
	}
	return list, err
}

// step begins a part of the event that is under way. What it is judged by holds until the next one
// begins; lasts is how long the fault will last, if that matters.
func (s *stage) step(p promise, lasts time.Duration, format string, args ...any) error {
	name := fmt.Sprintf("%d %s", len(s.steps), fmt.Sprintf(format, args...))
	s.steps = append(s.steps, step{name, s.event, p, lasts})
	s.say("%s", name)
	if err := s.traffic.mark(name); err != nil {
		return fmt.Errorf("tell verify: %w", err)
	}
	return s.sleep(markAhead)
}

// say prints a line with the time in the round.
func (s *stage) say(format string, args ...any) {
	fmt.Printf("%7.2f  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *stage) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// settled waits until the cluster is, and says how long it took.
func (s *stage) settled() (*ring, error) {
	began := time.Now()
	r, err := s.cluster.settled()
	if err == nil {
		s.say("   settled after %.1f s", time.Since(began).Seconds())
	}
	return r, err
}

// settle is settled for who does not care what the ring looks like.
func (s *stage) settle() error {
	_, err := s.settled()
	return err
}
