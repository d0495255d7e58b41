package council

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

var (
	seeds   = flag.Int("seeds", 75, "how many seeds TestSeeds runs, beside those in testdata/seeds")
	from    = flag.Uint64("from", 1, "the first of them")
	oneSeed = flag.Uint64("seed", 0, "run this seed alone and print its transcript")
)

// TestSeeds runs each seed twice: every promise must hold, and both runs must
// be the same. A seed that fails is to be kept in testdata/seeds.
func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		r := Run(Options{Seed: *oneSeed, Transcript: os.Stdout})
		t.Logf("%+v", r)
		if r.Violation != nil {
			t.Fatal(r.Violation)
		}
		return
	}
	began := time.Now()
	all := keptSeeds(t)
	for s := range *seeds {
		all = append(all, *from+uint64(s))
	}
	var sum total
	for _, seed := range all {
		sum.add(check(t, seed))
	}
	took := time.Since(began)
	t.Logf("%d seeds, each twice, in %v: %.0f runs/s", len(all), took.Round(time.Millisecond), 2*float64(len(all))/took.Seconds())
	sum.log(t)
	if !t.Failed() && *seeds >= 75 {
		sum.covers(t)
	}
}

// total is what the runs of a test did together.
type total struct {
	Report
	settling []time.Duration
	torn     int
}

func (s *total) add(x Report) {
	s.Events += x.Events
	s.Virtual += x.Virtual
	s.Tables += x.Tables
	s.Leaders += x.Leaders
	s.Foundings += x.Foundings
	for k, n := range x.Faults {
		s.Faults[k] += n
	}
	for k, n := range x.Frames {
		s.Frames[k] += n
	}
	for k, n := range x.Orders {
		s.Orders[k] += n
	}
	if x.Torn {
		s.torn++
	} else if x.Violation == nil {
		s.settling = append(s.settling, x.Settling)
	}
}

func (s *total) log(t *testing.T) {
	t.Logf("%d events in %v: %d tables, %d terms of leaders, %d recoveries, %d foundings torn in two", s.Events, s.Virtual, s.Tables, s.Leaders, s.Foundings, s.torn)
	if slices.Sort(s.settling); len(s.settling) > 0 {
		at := func(p int) time.Duration { return s.settling[(len(s.settling)-1)*p/100] }
		t.Logf("settled behind the faults: p50 %v, p99 %v, at worst %v", at(50), at(99), at(100))
	}
}

// covers fails if something that the seeds are there to try has not happened.
func (s *total) covers(t *testing.T) {
	note := func(what any, n int) {
		t.Logf("%-10v %d", what, n)
		if n == 0 {
			t.Errorf("%v has not happened", what)
		}
	}
	for k, n := range s.Faults {
		note(fault(k), n)
	}
	for f := proto.FrameTable; f <= proto.FrameAgree; f++ {
		note(f, s.Frames[f])
	}
	for k := cluster.OrderFound; k <= cluster.OrderReset; k++ {
		note(fmt.Sprintf("order %d", k), s.Orders[k])
	}
	note("recovery", s.Foundings)
}

func check(t *testing.T, seed uint64) Report {
	r := Run(Options{Seed: seed})
	if again := Run(Options{Seed: seed}); again.Hash != r.Hash {
		t.Errorf("seed %d: two runs differ: %016x and %016x", seed, r.Hash, again.Hash)
	}
	if r.Violation != nil {
		t.Errorf("seed %d: %v\nreplay: go test ./internal/sim/council -run TestSeeds -seed %d -v\nonce it is mended, keep the seed in internal/sim/council/testdata/seeds", seed, r.Violation, seed)
	}
	return r
}

// keptSeeds are those that failed once.
func keptSeeds(t *testing.T) (all []uint64) {
	f, err := os.Open("testdata/seeds")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		text, _, _ := strings.Cut(in.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds: %v", err)
		}
		all = append(all, seed)
	}
	return all
}

// TestBrokenRules switches one rule off at a time: the checkers must notice
// what that leads to within a bounded number of seeds, else they prove nothing.
func TestBrokenRules(t *testing.T) {
	const most = 300
	for _, c := range []struct {
		rule    string
		opt     Options
		noticed []string // one of them is said
	}{
		{"silence is proof of death", Options{Keeper: cluster.BreakProof}, []string{"is not proved (it lives: true)"}},
		{"one witness is enough", Options{Keeper: cluster.BreakWitness}, []string{"is not proved (it lives: false)"}},
		{"a new leader judges silence at once", Options{Keeper: cluster.BreakQuiet}, []string{"removes the voter"}},
		{"what an old leader decided takes effect", Options{Register: BreakTerm}, []string{"takes effect in term"}},
		{"an emptied voter votes for its former self", Options{Register: BreakMemory}, []string{"committed", "applies another entry", "lead in term"}},
	} {
		t.Run(strings.ReplaceAll(c.rule, " ", "-"), func(t *testing.T) {
			for seed := uint64(1); seed <= most; seed++ {
				c.opt.Seed = seed
				r := Run(c.opt)
				if r.Violation == nil {
					continue
				}
				said := func(what string) bool { return strings.Contains(r.Violation.Error(), what) }
				if slices.ContainsFunc(c.noticed, said) {
					t.Logf("caught by seed %d: %v", seed, r.Violation)
					return
				}
				t.Logf("seed %d notices something else: %v", seed, r.Violation)
			}
			t.Errorf("not caught by %d seeds", most)
		})
	}
}
