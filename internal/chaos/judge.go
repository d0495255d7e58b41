//go:build linux

package main

import (
	"fmt"
	"time"
)

// step is a part of an event, and what it is judged by.
type step struct {
	name    string // as told to verify, and unlike all others of the round
	event   int    // of the round, from 1; 0 before the first
	promise promise
	lasts   time.Duration // of the fault, for promises that wait for its end
}

// counts is what verify saw in a step, or in a whole run.
type counts struct {
	Lost, Doubled, Reordered, Invented, Altered, Conflicts, Disagree, Malformed uint64

	Gaps, Resets, Closed, Unplaced uint64

	Reconnects   uint64
	ResumedWhole uint64  `json:"resumed_whole"`
	BackMax      float64 `json:"back_max_ms"`

	PauseP50 float64 `json:"pause_p50_ms"`
	PauseP99 float64 `json:"pause_p99_ms"`
	PauseMax float64 `json:"pause_max_ms"`
}

// broken returns what no fault excuses.
func (c *counts) broken() (list []string) {
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{c.Lost, "lost"}, {c.Doubled, "doubled"}, {c.Reordered, "reordered"}, {c.Invented, "invented"}, {c.Altered, "altered"},
		{c.Conflicts, "offsets with two contents"}, {c.Disagree, "members that disagree"}, {c.Malformed, "malformed frames"},
	} {
		if x.n > 0 {
			list = append(list, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return list
}

// judge returns what a step broke, and of which pauses it must be said that they were long.
func (s *step) judge(c *counts) (broken, slow []string) {
	p := s.promise
	broken = c.broken()
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			broken = append(broken, fmt.Sprintf(format, args...))
		}
	}
	say(c.Gaps > 0 && !p.gaps, "%d gaps", c.Gaps)
	say(c.Resets > 0 && !p.resets, "%d resets", c.Resets)
	say(c.Resets == 0 && p.resets, "no reset, though every copy of some rooms is lost")
	say(c.Closed > 0 && !p.closes, "%d sockets closed", c.Closed)
	say(c.Unplaced > 0 && !p.closes, "%d messages unplaced", c.Unplaced)
	say(c.ResumedWhole < c.Reconnects && !p.gaps && !p.resets, "%d of %d reconnects resumed whole", c.ResumedWhole, c.Reconnects)

	p99, longest := p.bounds(s.lasts)
	if p99 > 0 && c.PauseP99 > millis(p99) {
		slow = append(slow, fmt.Sprintf("pause p99 %s ms, promised %s", ms(c.PauseP99), p99))
	}
	if longest > 0 && c.PauseMax > millis(longest) {
		slow = append(slow, fmt.Sprintf("longest pause %s ms, promised %s", ms(c.PauseMax), longest))
	}
	return broken, slow
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ms is a time in milliseconds, with decimals only where they say something.
func ms(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// promised is what a step's pauses are held against, in words.
func (s *step) promised() string {
	p99, longest := s.promise.bounds(s.lasts)
	switch {
	case p99 > 0:
		return "p99 < " + p99.String()
	case longest > 0:
		return "< " + longest.String()
	}
	return "-"
}
