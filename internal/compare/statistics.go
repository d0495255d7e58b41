//go:build linux

package main

import (
	"slices"
)

// spread is the middle of some values and how far they lie apart.
type spread struct{ median, min, max float64 }

// spreadOf returns the spread of values; ok is false if there are none.
func spreadOf(values []float64) (s spread, ok bool) {
	if len(values) == 0 {
		return s, false
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s = spread{sorted[middle], sorted[0], sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		s.median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s, true
}

// quantile returns the value that a share q (0 to 1) of the sorted values does not exceed, or 0 if there
// are none.
func quantile(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

// values returns what of says about the good runs of a subject in a scenario.
func (r *report) values(scenario, subject string, of measure) (list []float64) {
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Scenario == scenario && run.Subject == subject && run.good() {
			list = append(list, of(run))
		}
	}
	return list
}

// ratios compares a subject's runs with those of the bare loop in the same round. A round in which one
// of the two is missing says nothing.
func (r *report) ratios(scenario, subject string, of measure) (list []float64) {
	bare := map[int]float64{}
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Scenario == scenario && run.Subject == bareName && run.good() {
			bare[run.Round] = of(run)
		}
	}
	for i := range r.Runs {
		run := &r.Runs[i]
		if run.Scenario == scenario && run.Subject == subject && run.good() && bare[run.Round] > 0 {
			list = append(list, of(run)/bare[run.Round])
		}
	}
	return list
}
