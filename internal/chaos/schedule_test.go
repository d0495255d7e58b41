//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// dealt is the text of a number of rounds.
func dealt(seed uint64, rounds int, brief bool) string {
	d := newDealer(seed, faults, brief)
	var b strings.Builder
	for range rounds {
		fmt.Fprintln(&b, d.deal())
	}
	return b.String()
}

func TestScheduleIsAFunctionOfItsSeed(t *testing.T) {
	seen := map[string]uint64{}
	for seed := range uint64(50) {
		for _, brief := range []bool{false, true} {
			first := dealt(seed, 12, brief)
			if again := dealt(seed, 12, brief); again != first {
				t.Fatalf("seed %d: first\n%sthen\n%s", seed, first, again)
			}
			if other, was := seen[first]; was {
				t.Errorf("seeds %d and %d have the same schedule", seed, other)
			}
			seen[first] = seed
		}
	}
}

func TestEveryFaultIsDealtOnce(t *testing.T) {
	for seed := range uint64(20) {
		for _, brief := range []bool{false, true} {
			d := newDealer(seed, faults, brief)
			count := map[string]int{}
			for range d.rounds() {
				r := d.deal()
				for _, e := range r.events {
					count[e.fault]++
					if e.play == nil {
						t.Errorf("%s cannot be played", e)
					}
					if findFault(e.fault).needs&needMount != 0 && !r.disk {
						t.Errorf("%s in a round without disks", e)
					}
				}
			}
			for _, f := range faults {
				if count[f.name] != 1 {
					t.Errorf("seed %d, brief %v: %s was dealt %d times in one pass", seed, brief, f.name, count[f.name])
				}
			}
		}
	}
}

func TestEveryStopTimeIsDealt(t *testing.T) {
	var stops []fault
	for _, f := range faults {
		if strings.HasPrefix(f.name, "stop-") {
			stops = append(stops, f)
		}
	}
	for seed := range uint64(20) {
		d := newDealer(seed, stops, false)
		seen := map[string]bool{}
		for range len(stopTimes) {
			for _, e := range d.deal().events {
				seen[fmt.Sprint(e.fault, e.lasts)] = true
			}
		}
		if len(seen) != len(stops)*len(stopTimes) {
			t.Errorf("seed %d: %d faults and times in as many passes as there are times", seed, len(seen))
		}

		d = newDealer(seed, stops, true)
		times := map[time.Duration]bool{}
		for _, e := range d.deal().events {
			times[e.lasts] = e.lasts <= 3*time.Second
		}
		if len(times) != 3 || !times[3*time.Second] {
			t.Errorf("seed %d: the short times of one pass are %v", seed, times)
		}
	}
}

func TestCutsHaveTwoSides(t *testing.T) {
	d := newDealer(3, faults, false)
	for range 40 * d.rounds() {
		for _, e := range d.deal().events {
			a, b := e.sides[0], e.sides[1]
			all := slices.Concat(a, b)
			slices.Sort(all)
			if len(slices.Compact(all)) != len(a)+len(b) || (len(a) == 0) != (len(b) == 0) {
				t.Errorf("%s", e)
			}
			if e.lasts > 30*time.Second {
				t.Errorf("%s: conns may close after 60 s", e)
			}
			for _, id := range slices.Concat(a, b, e.nodes) {
				if !slices.Contains(everyone, id) {
					t.Errorf("%s: there is no %s", e, id)
				}
			}
		}
	}
}

func TestShuffledLeavesItsListAlone(t *testing.T) {
	before := slices.Clone(everyone)
	shuffled(rand.New(rand.NewPCG(1, 2)), everyone)
	if !slices.Equal(everyone, before) {
		t.Errorf("the cluster is %v now", everyone)
	}
}
