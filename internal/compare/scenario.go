//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// scenario is what the load does to a server.
type scenario struct {
	name  string
	title string

	rooms, members, publishers int

	window int     // messages in flight in a room: as many as the server keeps up with
	rate   float64 // or deliveries per second over all rooms, whether it keeps up or not
	idle   bool    // or one message per member, and then silence
}

func scenarios() []scenario {
	return []scenario{
		{name: "fanout", title: "one room of 1000, saturated", rooms: 1, members: 1000, publishers: 10, window: 64},
		{name: "rooms", title: "2000 rooms of 5, saturated", rooms: 2000, members: 5, publishers: 5, window: 1},
		{name: "rate", title: "20,000 deliveries/s into rooms of 5", rooms: 2000, members: 5, publishers: 5, rate: 20_000},
		{name: "idle", title: "idle conns, ten to a room", rooms: 1000, members: 10, publishers: 10, idle: true},
		{name: "alone", title: "idle conns, each in a room of its own", rooms: 10_000, members: 1, publishers: 1, idle: true},
	}
}

func (s *scenario) conns() int { return s.rooms * s.members }

// fit makes the scenario small enough for so many conns, and reports whether it had to.
func (s *scenario) fit(conns int) bool {
	if s.conns() <= conns {
		return false
	}
	s.members = min(s.members, conns)
	s.rooms = max(1, conns/s.members)
	s.publishers = min(s.publishers, s.members)
	return true
}

// settings are how long a run takes.
type settings struct {
	warm, measure, rest time.Duration

	// quiet is for how long nothing must come, in the end, until what is owed counts as missing.
	quiet time.Duration

	begun func() // told when the measured part begins, if not nil
}

// drainMost bounds the wait for a server that is far behind.
const drainMost = time.Minute

// measure lets the load do the scenario to servers that have nobody yet, and fills m.
func (s *scenario) measure(ctx context.Context, l *load, servers *group, t settings, m *measurement) error {
	memory := servers.memory()
	if err := l.connect(ctx); err != nil {
		return err
	}
	if s.idle {
		return s.touch(ctx, l, servers, t, memory, m)
	}
	if err := s.drive(ctx, l, t.warm); err != nil {
		return err
	}
	if t.begun != nil {
		t.begun()
	}
	before, delivered, start := usage(servers), l.delivered, l.look()
	l.timing = s.rate > 0
	if err := s.drive(ctx, l, t.measure); err != nil {
		return err
	}
	l.timing = false
	m.spent(before, usage(servers), time.Duration(l.look()-start), l.delivered-delivered)
	if err := l.drain(ctx, t.quiet); err != nil {
		return err
	}
	m.Missing, m.Faults = max(l.owed, 0), l.faults
	slices.Sort(l.latencies)
	m.P50, m.P99 = float64(quantile(l.latencies, 0.5))/1e6, float64(quantile(l.latencies, 0.99))/1e6
	return nil
}

func (s *scenario) drive(ctx context.Context, l *load, d time.Duration) error {
	if s.rate > 0 {
		return l.pace(ctx, d, s.rate)
	}
	return l.saturate(ctx, d, s.window)
}

// saturate keeps each room's window full. A message is in flight until its last delivery.
func (l *load) saturate(ctx context.Context, d time.Duration, window int) error {
	until, delivered, moved := l.look()+int64(d), l.delivered, l.now
	for _, r := range l.rooms {
		l.topUp(r, window)
	}
	for l.now < until {
		if err := l.poll(ctx, min(100*time.Millisecond, time.Duration(until-l.now))); err != nil {
			return err
		}
		for _, r := range l.touched {
			r.touched = false
			l.topUp(r, window)
		}
		l.touched = l.touched[:0]
		if l.delivered != delivered {
			delivered, moved = l.delivered, l.now
		} else if l.now-moved > int64(standstill) {
			return fmt.Errorf("no delivery for %s, and %d are owed", standstill, l.owed)
		}
	}
	return nil
}

func (l *load) topUp(r *room, window int) {
	for r.owed <= (window-1)*len(r.members) {
		l.publish(r, l.now)
	}
}

// pace publishes at a fixed rate, one room after the other. A message that the load sends too late was
// due all the same, so that nothing is hidden.
func (l *load) pace(ctx context.Context, d time.Duration, rate float64) error {
	begin := l.look()
	until, interval := begin+int64(d), float64(len(l.rooms[0].members))/rate*1e9
	for n := 0; l.now < until; {
		due := begin
		for {
			due = begin + int64(float64(n)*interval)
			if due > l.look() {
				break
			}
			l.publish(l.rooms[n%len(l.rooms)], due)
			n++
		}
		if err := l.poll(ctx, time.Duration(due-l.now)); err != nil {
			return err
		}
		l.untouch()
	}
	return nil
}

func (l *load) untouch() {
	for _, r := range l.touched {
		r.touched = false
	}
	l.touched = l.touched[:0]
}

// drain waits for what is owed.
func (l *load) drain(ctx context.Context, quiet time.Duration) error {
	most, delivered, moved := l.look()+int64(drainMost), l.delivered, l.now
	for l.owed > 0 && l.now < most && l.now-moved < int64(quiet) {
		if err := l.poll(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		l.untouch()
		if l.delivered != delivered {
			delivered, moved = l.delivered, l.now
		}
	}
	return nil
}

// touch lets every member publish once, for a conn whose buffers nobody has used yet costs less than one
// in use. After a rest it takes what the servers' memory has grown by.
func (s *scenario) touch(ctx context.Context, l *load, servers *group, t settings, memory map[string]int64, m *measurement) error {
	for _, r := range l.rooms {
		for range r.publishers {
			l.publish(r, l.now)
		}
		if err := l.poll(ctx, 0); err != nil {
			return err
		}
		l.untouch()
	}
	if err := l.drain(ctx, t.quiet); err != nil {
		return err
	}
	m.Missing, m.Faults = max(l.owed, 0), l.faults
	before, start := usage(servers), l.look()
	for until := start + int64(t.rest); l.now < until; {
		if err := l.poll(ctx, time.Duration(until-l.now)); err != nil {
			return err
		}
	}
	m.spent(before, usage(servers), time.Duration(l.now-start), 0)
	m.grew(memory, servers.memory(), s.conns())
	return nil
}
