package main

import (
	"slices"
	"time"
)

// What was measured after the warm-up is cut into quarters; the second is compared with the last.
const warmShare = 5 // a fifth of the time

func warmUp(total time.Duration) time.Duration { return total / warmShare }

// quantity is something of a process that must not grow.
type quantity struct {
	name  string
	of    func(*sample) float64
	share float64 // of the second quarter's median that the last one's may be above it,
	grace float64 // and so much more
	rank  float64 // where among its sorted samples a quarter's figure stands; 0.5 is the median
	bytes bool
}

// quantities: what the bounds allow is what a busy machine's timing makes, seen in runs of ten minutes.
// Goroutines and descriptors come and go with gossip and raft, more of them when the machine is busy,
// and a leak raises the low figures as well: so those count. Who leads the register has ten more than
// who does not, and that may change. Conns and rooms come at random: their
// graces are what that is.
var quantities = []quantity{
	{"heap", func(s *sample) float64 { return s.Heap }, 0.10, 8 << 20, 0.5, true},
	{"rss", func(s *sample) float64 { return s.RSS }, 0.15, 16 << 20, 0.5, true},
	{"goroutines", func(s *sample) float64 { return s.Goroutines }, 0, 16, 0.25, false},
	{"descriptors", func(s *sample) float64 { return s.Descriptors }, 0, 16, 0.25, false},
	{"conns", func(s *sample) float64 { return s.Conns }, 0.25, 100, 0.5, false},
	{"rooms", func(s *sample) float64 { return s.Rooms }, 0.25, 200, 0.5, false},
}

// comparison is one quantity of one process.
type comparison struct {
	Node     string  `json:"node"`
	Quantity string  `json:"quantity"`
	Early    float64 `json:"early"` // figure of the second quarter
	Late     float64 `json:"late"`  // figure of the last quarter
	Bound    float64 `json:"bound"`
	Flat     bool    `json:"flat"`
}

// judge compares samples of equal phases: with a fourth shard the others have less.
func judge(o options, all []sample, seen counts, moves int) *report {
	r := &report{Seconds: o.time.Seconds(), Moves: moves, Counts: seen, Whole: seen.whole(), Flat: len(all) > 0, Samples: all}
	warm := warmUp(o.time).Seconds()
	quarter := (o.time.Seconds() - warm) / 4
	var nodes []string
	for _, s := range all {
		if !slices.Contains(nodes, s.Node) {
			nodes = append(nodes, s.Node)
		}
	}
	for _, node := range nodes {
		part := func(number float64) (list []sample) {
			for _, s := range all {
				if from := warm + number*quarter; s.Node == node && s.At >= from && s.At < from+quarter {
					list = append(list, s)
				}
			}
			return list
		}
		early, late := equalPhases(part(1), part(3))
		for _, q := range quantities {
			c := q.compare(node, early, late)
			r.Comparisons = append(r.Comparisons, c)
			r.Flat = r.Flat && c.Flat
		}
	}
	return r
}

// enough samples of one phase make a figure.
const enough = 3

// equalPhases leaves samples of the phase of which both have most, or all when neither has enough.
func equalPhases(early, late []sample) (a, b []sample) {
	most := enough - 1
	a, b = early, late
	for _, guest := range []bool{false, true} {
		of := func(list []sample) []sample {
			return slices.DeleteFunc(slices.Clone(list), func(s sample) bool { return s.Guest != guest || s.Busy })
		}
		if x, y := of(early), of(late); min(len(x), len(y)) > most {
			most, a, b = min(len(x), len(y)), x, y
		}
	}
	return a, b
}

func (q *quantity) compare(node string, early, late []sample) comparison {
	c := comparison{Node: node, Quantity: q.name, Early: q.figure(early), Late: q.figure(late)}
	c.Bound = c.Early*(1+q.share) + q.grace
	c.Flat = len(early) > 0 && len(late) > 0 && c.Late <= c.Bound
	return c
}

// figure is a quarter's, 0 of nothing.
func (q *quantity) figure(list []sample) float64 {
	if len(list) == 0 {
		return 0
	}
	values := make([]float64, len(list))
	for i := range list {
		values[i] = q.of(&list[i])
	}
	slices.Sort(values)
	return values[int(q.rank*float64(len(values)))]
}
