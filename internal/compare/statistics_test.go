//go:build linux

package main

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 100}, spread{3, 1, 100}},
	} {
		if got, ok := spreadOf(c.values); !ok || got != c.want {
			t.Errorf("spread of %v = %v, want %v", c.values, got, c.want)
		}
	}
	if _, ok := spreadOf(nil); ok {
		t.Error("nothing has a spread")
	}
}

func TestQuantile(t *testing.T) {
	values := make([]int64, 101)
	for i := range values {
		values[i] = int64(i)
	}
	for q, want := range map[float64]int64{0: 0, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %g = %d, want %d", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("the median of nothing is not 0")
	}
}

// sample has a subject that costs twice what the bare loop does, on a machine whose speed changes from
// round to round, and runs that must not count.
func sample() *report {
	r := &report{Rounds: 4, Scenarios: []label{{"fanout", "one room"}},
		Subjects: []label{{bareName, "bare loop"}, {"roomring", "Roomring"}}}
	for round, cost := range []float64{1, 5, 3} {
		r.Runs = append(r.Runs,
			measurement{Round: round + 1, Scenario: "fanout", Subject: bareName, CPU: cost, ServerCores: 1},
			measurement{Round: round + 1, Scenario: "fanout", Subject: "roomring", CPU: 2 * cost, ServerCores: 1})
	}
	r.Runs = append(r.Runs,
		measurement{Round: 4, Scenario: "fanout", Subject: bareName, CPU: 1, Error: "it fell over"},
		measurement{Round: 4, Scenario: "fanout", Subject: "roomring", CPU: 1000, Faults: 1},
		measurement{Round: 1, Scenario: "rooms", Subject: "roomring", CPU: 1000, ServerCores: 1})
	return r
}

func TestRatiosAreWithinARound(t *testing.T) {
	r := sample()
	if got := r.ratios("fanout", "roomring", cpuOf); !reflect.DeepEqual(got, []float64{2, 2, 2}) {
		t.Errorf("ratios %v, want 2 in each of three rounds", got)
	}
	if got := r.values("fanout", "roomring", cpuOf); !reflect.DeepEqual(got, []float64{2, 10, 6}) {
		t.Errorf("values %v, want those of the good runs", got)
	}
	r.Runs[0].Error = "gone"
	if got := r.ratios("fanout", "roomring", cpuOf); len(got) != 2 {
		t.Errorf("ratios %v, want none for the round without a bare loop", got)
	}
}

func TestReport(t *testing.T) {
	r := sample()
	r.Runs[2].OtherCores, r.Runs[3].ServerCores = 0.3, 0.5
	path := filepath.Join(t.TempDir(), "runs.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	read, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read, r) {
		t.Errorf("read %+v\nwant %+v", read, r)
	}
	var out bytes.Buffer
	if err := read.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| | one room of 1000, saturated |\n| --- | --- |\n| bare loop | 3.00 µs |\n| Roomring | 6.00 µs (2.00 ×) |\n",
		"| Roomring | 6.00 µs | 2.00–10.00 | 2.00 | 2.00–2.00 |",
		"0.30 cores at most", "The machine was not quiet", "In 1 saturated run", "2 runs failed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
	if !r.failed() {
		t.Error("failed runs do not fail the report")
	}
}

// TestMemoryIsByProcess: a figure of memory says which process has it, one of CPU whose time it is.
func TestMemoryIsByProcess(t *testing.T) {
	m := measurement{Scenario: "idle", Subject: "roomring", Processes: map[string]float64{"r1": 7}}
	m.grew(map[string]int64{"r1": 1000, "s1": 500}, map[string]int64{"r1": 4000, "s1": 1500}, 10)
	if m.Memory != 400 {
		t.Errorf("%g bytes per conn, want 400", m.Memory)
	}
	r := &report{Runs: []measurement{m}, Scenarios: []label{{Name: "idle"}}, Subjects: []label{{Name: "roomring", Title: "Roomring"}}}
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "| bytes by process |") || !strings.Contains(out.String(), "| r1 300, s1 100 |") {
		t.Errorf("the report does not say who has the memory:\n%s", &out)
	}
}

func TestTurnsChange(t *testing.T) {
	list := []subject{{name: "a"}, {name: "b"}, {name: "c"}}
	first := map[string]bool{}
	for round := range 2 * len(list) {
		order := turns(list, round)
		first[order[0].name] = true
		seen := map[string]bool{}
		for _, s := range order {
			seen[s.name] = true
		}
		if len(seen) != len(list) {
			t.Errorf("round %d: %v, want each once", round, order)
		}
	}
	if len(first) != len(list) {
		t.Errorf("only %v ever come first", first)
	}
}
