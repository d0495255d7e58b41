//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	results := []result{
		{step{event: 0, promise: calm}, counts{PauseMax: 9999}},
		{step{event: 1, promise: shardKilled}, counts{PauseP50: 10, PauseP99: 200, PauseMax: 300}},
		{step{event: 1, promise: recovery}, counts{PauseP50: 9, PauseMax: 9999, Lost: 7}},
		{step{event: 2, promise: shardKilled}, counts{PauseP50: 30, PauseP99: 100, PauseMax: 400}},
		{step{event: 3, promise: shardKilled}, counts{PauseP50: 20, PauseP99: 150, PauseMax: 350, Conflicts: 1}},
		{step{event: 3, promise: shardKilled}, counts{PauseP50: 20}}, // another step of the same run
	}
	l := sum(shardKilled, results, nil)
	want := line{Row: "shard killed", Runs: 3, P50: 20, P99: 200, Max: 400, Other: 1, Promised: "under 1s"}
	if l.Runs != want.Runs || l.P50 != want.P50 || l.P99 != want.P99 || l.Max != want.Max || l.Other != want.Other || l.Lost != 0 || l.Promised != want.Promised {
		t.Errorf("%+v, want %+v", l, want)
	}
	text := markdown(&options{}, []line{l, sum(copiesSilent, nil, errors.New("it broke"))})
	for _, want := range []string{"| shard killed | 3 | 0, 0, 0, 1 | 0 | 20, 200, 400 ms | under 1s |", "**FAILED**"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestTrials checks that every trial fills the rows that it is there for.
func TestTrials(t *testing.T) {
	rows := map[string]bool{}
	for _, trial := range trials {
		for _, p := range trial.rows {
			if p.row == "" || rows[p.row] {
				t.Errorf("row %q of %q is there already", p.row, trial.name)
			}
			rows[p.row] = true
		}
		for _, d := range trial.times {
			if d > 30*time.Second {
				t.Errorf("%s for %s: conns may close after 60 s", trial.name, d)
			}
		}
	}
}
