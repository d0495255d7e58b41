//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// runSchedule plays rounds as the seed deals them, until one fails.
func (s *stage) runSchedule() error {
	o := s.options
	fmt.Printf("seed %d; again: %s\n", o.seed, o.again())
	list, err := s.choose()
	if err != nil {
		return err
	}
	d := newDealer(o.seed, list, o.ci)
	rounds, until := o.rounds, time.Time{}
	if rounds == 0 {
		rounds = d.rounds()
	}
	if o.lasts > 0 {
		rounds, until = math.MaxInt, time.Now().Add(o.lasts)
	}
	began := time.Now()
	events := 0
	for range rounds {
		if !until.IsZero() && time.Now().After(until) {
			break
		}
		r := d.deal()
		if _, err := s.play(r); err != nil {
			return err
		}
		events += len(r.events)
	}
	fmt.Printf("good: %d events in %d rounds, %.0f s\n", events, d.round, time.Since(began).Seconds())
	return nil
}

// result is a step and what verify saw in it.
type result struct {
	step
	counts
}

// play plays a round, and returns its steps. It fails if anything was not as promised.
func (s *stage) play(r round) ([]result, error) {
	fmt.Println(r)
	s.began, s.event, s.serious = time.Now(), 0, nil
	s.steps = []step{{name: "before", promise: calm}} // so verify calls what comes before the first event
	var err error
	if s.cluster, err = newCluster(s, r); err != nil {
		return nil, err
	}
	defer s.cluster.close()
	if r.disk && s.network != nil {
		if err := s.mountDisks(); err != nil {
			return nil, err
		}
		defer s.unmountDisks()
	}
	err = s.live(r)
	outcome, ended := s.finish()
	if err = errors.Join(err, ended); s.ctx.Err() != nil {
		return nil, s.ctx.Err()
	}
	results := s.judge(outcome, r)
	if err != nil {
		s.fail("%v", err)
	}
	if len(s.serious) > 0 {
		return results, fmt.Errorf("round %d:\n    %s", r.number, strings.Join(s.serious, "\n    "))
	}
	if s.options.keep {
		return results, nil
	}
	return results, os.RemoveAll(s.cluster.logs)
}

// live starts everything, and plays the events.
func (s *stage) live(r round) error {
	for _, id := range everyone {
		if _, err := s.cluster.start(id); err != nil {
			return err
		}
	}
	if err := s.settle(); err != nil {
		return err
	}
	o := s.options
	var err error
	if s.traffic, err = s.cluster.drive("verify", o.rooms, o.members, o.rate, routers...); err != nil {
		return err
	}
	if err := s.connected(); err != nil {
		return err
	}
	s.say("%d rooms of %d members, %.0f deliveries/s", o.rooms, o.members, o.rate)
	for i, e := range r.events {
		if err := s.sleep(time.Second); err != nil { // of what comes after the last event
			return err
		}
		s.event = i + 1
		s.say("%s", e)
		if err := e.play(s, e); err != nil {
			return fmt.Errorf("%s: %w", e, err)
		}
		if died := s.cluster.fallen(); died != "" {
			return fmt.Errorf("%s: %s", e, died)
		}
	}
	return s.sleep(time.Second)
}

// finish ends the traffic, whatever happened before.
func (s *stage) finish() (*outcome, error) {
	if s.traffic == nil || s.traffic.ended() {
		return nil, errors.New("there was no traffic to the end")
	}
	defer func() { s.traffic = nil }()
	if s.ctx.Err() != nil {
		return nil, nil
	}
	if s.network != nil { // an event that failed may have left a cut or a sleeper; what is owed can still come
		if err := s.network.heal(); err != nil {
			return nil, err
		}
	}
	s.cluster.wake()
	return s.traffic.end()
}

func (s *stage) fail(format string, args ...any) {
	s.serious = append(s.serious, fmt.Sprintf(format, args...))
}

// judge prints what every step showed, and notes what broke.
func (s *stage) judge(o *outcome, r round) (results []result) {
	if o != nil {
		results = s.judgeSteps(o)
	}
	complaints, err := searchLogs(s.cluster.logs, []string{s.cluster.key, s.cluster.token}, r.events)
	if err != nil {
		s.fail("%v", err)
	}
	for _, c := range complaints {
		s.fail("log of %s", c)
	}
	return results
}

func (s *stage) judgeSteps(o *outcome) (results []result) {
	seen := map[string]counts{}
	for _, p := range o.Events {
		seen[p.Name] = p.counts
	}
	fmt.Printf("    %-52s %9s %9s %9s   %s\n", "pause of rooms, ms", "p50", "p99", "longest", "promised")
	for _, st := range s.steps {
		c, known := seen[st.name]
		if !known {
			s.fail("verify knows nothing of %q", st.name)
			continue
		}
		broken, slow := st.judge(&c)
		fmt.Printf("    %-52s %9s %9s %9s   %s\n", st.name, ms(c.PauseP50), ms(c.PauseP99), ms(c.PauseMax), st.promised())
		for _, what := range broken {
			s.fail("%s: %s", st.name, what)
		}
		for _, what := range slow {
			fmt.Printf("      slow: %s\n", what)
			if s.options.strict {
				s.fail("%s: %s", st.name, what)
			}
		}
		results = append(results, result{st, c})
	}
	for _, what := range o.broken() {
		s.fail("in all: %s", what)
	}
	if !o.Held || o.Away > 0 || o.NotOpened > 0 {
		s.fail("verify: %s %d conns did not open, %d were not open at the end", o.Verdict, o.NotOpened, o.Away)
	}
	if len(s.serious) > 0 {
		fmt.Printf("    examples: %s\n", o.Examples)
	}
	fmt.Printf("    %d messages, %d deliveries: %s\n", o.Published, o.Delivered, o.Verdict)
	return results
}
