//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name    string
		promise promise
		lasts   time.Duration
		saw     counts
		broken  []string
		slow    int
	}{
		{name: "nothing", promise: shardKilled},
		{name: "lost", promise: routerKilled, saw: counts{Lost: 2}, broken: []string{"2 lost"}},
		{name: "doubled", promise: copiesLost, saw: counts{Doubled: 1, Resets: 1}, broken: []string{"1 doubled"}},
		{name: "reordered", promise: badNetwork, saw: counts{Reordered: 1}, broken: []string{"1 reordered"}},
		{name: "invented", promise: splitBoth, saw: counts{Invented: 1}, broken: []string{"1 invented"}},
		{name: "altered", promise: badNetwork, saw: counts{Altered: 1}, broken: []string{"1 altered"}},
		{name: "two contents", promise: splitBoth, saw: counts{Conflicts: 1}, broken: []string{"1 offsets with two contents"}},
		{name: "disagree", promise: splitBoth, saw: counts{Disagree: 3}, broken: []string{"3 members that disagree"}},
		{name: "malformed", promise: calm, saw: counts{Malformed: 1}, broken: []string{"1 malformed frames"}},

		{name: "a gap", promise: shardSilent, saw: counts{Gaps: 1}, broken: []string{"1 gaps"}},
		{name: "a reset", promise: likeDeath, saw: counts{Resets: 5}, broken: []string{"5 resets"}},
		{name: "a reset where it must be", promise: copiesLost, saw: counts{Resets: 5}},
		{name: "no reset where it must be", promise: copiesLost, broken: []string{"no reset, though every copy of some rooms is lost"}},
		{name: "closed", promise: shardKilled, saw: counts{Closed: 1, Unplaced: 1}, broken: []string{"1 sockets closed", "1 messages unplaced"}},
		{name: "closed with their router", promise: routerKilled, saw: counts{Closed: 9, Unplaced: 1, Reconnects: 9, ResumedWhole: 9}},
		{name: "resumed with a gap", promise: routerKilled, saw: counts{Closed: 9, Reconnects: 9, ResumedWhole: 8}, broken: []string{"8 of 9 reconnects resumed whole"}},

		{name: "p99 too long", promise: shardJoins, saw: counts{PauseP99: 51}, slow: 1},
		{name: "the longest does not count", promise: shardJoins, saw: counts{PauseP99: 49, PauseMax: 900}},
		{name: "too long", promise: shardKilled, saw: counts{PauseMax: 1001}, slow: 1},
		{name: "until healed", promise: splitBoth, lasts: 10 * time.Second, saw: counts{PauseMax: 11_900}},
		{name: "and longer", promise: splitBoth, lasts: 10 * time.Second, saw: counts{PauseMax: 12_100}, slow: 1},
		{name: "the majority after 3 s", promise: splitBoth, lasts: 300 * time.Millisecond, saw: counts{PauseMax: 2900}},
		{name: "no promise", promise: badNetwork, saw: counts{PauseMax: 1e6}},
	} {
		s := step{name: test.name, promise: test.promise, lasts: test.lasts}
		broken, slow := s.judge(&test.saw)
		if !slices.Equal(broken, test.broken) || len(slow) != test.slow {
			t.Errorf("%s: broken %q, slow %q", test.name, broken, slow)
		}
	}
}

func TestLogComplaints(t *testing.T) {
	const key = "c2VjcmV0c2VjcmV0"
	killed := []event{{fault: "kill-copies"}}
	for _, test := range []struct {
		line   string
		events []event
		bad    bool
	}{
		{line: ""},
		{line: `{"level":"info","message":"node up"}`},
		{line: `{"level":"warn","message":"gossip trouble"}`},
		{line: `{"level":"error","message":"something new"}`, bad: true},
		{line: `{"level":"error","message":"rooms are lost: every copy is dead"}`, bad: true},
		{line: `{"level":"error","message":"rooms are lost: every copy is dead"}`, events: killed},
		{line: `{"level":"error","message":"panic contained"}`, events: killed, bad: true},
		{line: `{"level":"info","message":"admin request panicked"}`, bad: true},
		{line: `{"level":"panic","message":"it cannot be"}`, bad: true},
		{line: `panic: runtime error: index out of range`, bad: true},
		{line: `{"level":"info","message":"configured","key":"` + key + `"}`, bad: true},
	} {
		if why := complaint([]byte(test.line), []string{key}, test.events); (why != "") != test.bad {
			t.Errorf("%s: complaint %q", test.line, why)
		}
	}
}
