//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"golang.org/x/sync/errgroup"
)

// comparison is a whole series of runs.
type comparison struct {
	rounds    int
	scenarios []scenario
	subjects  []subject
	settings  settings
	cores     cores
	ports     *ports
	dir       string    // for what the servers write
	profiles  string    // where to put profiles of Roomring's nodes; if empty, none are made
	progress  io.Writer // a line per run
}

// run measures every subject in every scenario, round by round, and tells done about each run. A run
// that fails is one of them; the error is why there will be no further one.
func (c *comparison) run(ctx context.Context, done func(measurement)) error {
	for round := range c.rounds {
		for i := range c.scenarios {
			for _, x := range turns(c.subjects, round) {
				m := measurement{Round: round + 1, Scenario: c.scenarios[i].name, Subject: x.name}
				if err := c.one(ctx, x, &c.scenarios[i], &m); err != nil {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					m.Error = err.Error()
				}
				fmt.Fprintf(c.progress, "%d/%d %s\n", m.Round, c.rounds, m.line())
				done(m)
			}
		}
	}
	return nil
}

// turns changes the order from round to round, so that nobody always comes first or always follows the
// same other one.
func turns(subjects []subject, round int) []subject {
	list := slices.Clone(subjects)
	by := round % max(len(list), 1)
	list = append(list[by:], list[:by]...)
	if round%2 == 1 {
		slices.Reverse(list)
	}
	return list
}

// one starts a subject, measures it and ends it.
func (c *comparison) one(ctx context.Context, x subject, sc *scenario, m *measurement) (err error) {
	dir, err := os.MkdirTemp(c.dir, x.name+"-")
	if err != nil {
		return err
	}
	s := &stage{dir: dir, cores: c.cores, ports: c.ports, conns: sc.conns()}
	if c.profiles != "" && sc.idle {
		s.env = []string{"GODEBUG=memprofilerate=512"} // the default sees one conn in a thousand
	}
	defer func() {
		s.stop()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	port, err := x.start(ctx, s)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	l, err := newLoad(netip.MustParseAddrPort(loopback(port)), x.path, sc)
	if err != nil {
		return err
	}
	defer func() {
		l.close()
		debug.FreeOSMemory() // the next run's load begins as this one did
	}()
	t := c.settings
	profiled := func() error { return nil }
	profile := func(what string) { profiled = s.profile(ctx, c.profiles, *m, what) }
	if c.profiles != "" {
		t.begun = func() { profile(fmt.Sprintf("profile?seconds=%d", max(1, int(t.measure.Seconds())))) }
	}
	if err := sc.measure(ctx, l, s.servers(), t, m); err != nil {
		return errors.Join(err, s.ended())
	}
	if c.profiles != "" && sc.idle {
		profile("heap?gc=1")
	}
	return profiled()
}

// profile has Roomring's nodes write profiles: of the CPU while they are measured, of the heap when idle
// conns have rested. What it returns waits for them.
func (s *stage) profile(ctx context.Context, dir string, m measurement, what string) func() error {
	g, ctx := errgroup.WithContext(ctx)
	for _, a := range s.admins {
		g.Go(func() error {
			text, err := a.ask(ctx, "/debug/pprof/"+what)
			if err != nil {
				return fmt.Errorf("profile of %s: %w", a.node, err)
			}
			name := fmt.Sprintf("%s-%s-%s-%d.pprof", m.Scenario, m.Subject, a.node, m.Round)
			return os.WriteFile(filepath.Join(dir, name), text, 0o644)
		})
	}
	return g.Wait
}

func (c *comparison) needsRoomring() bool {
	return slices.ContainsFunc(c.subjects, func(s subject) bool { return s.roomring })
}
