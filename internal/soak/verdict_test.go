package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// hour are samples of an hour with moves each minute. grow changes a sample at a second.
func hour(grow func(at float64, s *sample)) (o options, all []sample) {
	o = options{time: time.Hour, sample: 5 * time.Second}
	for at := 5.0; at < 3600; at += 5 {
		turn := int(at) / 60 % 2
		s := sample{At: at, Node: "s1", Guest: turn == 1, Busy: int(at)%60 < 10, Goroutines: 50, Descriptors: 40, Rooms: 1000, Heap: 20 << 20, RSS: 60 << 20}
		if s.Guest { // the others have less
			s.Rooms, s.Heap = 750, 15<<20
		}
		if s.Busy { // a copy of what moves, and links that come
			s.Heap += 30 << 20
			s.Goroutines += 30
		}
		s.Goroutines += float64(rand.N(5))
		grow(at, &s)
		all = append(all, s)
	}
	return o, all
}

func TestVerdict(t *testing.T) {
	whole := counts{Opened: 1000, Messages: 1000}
	for _, test := range []struct {
		name string
		grow func(at float64, s *sample)
		want string // quantities that grow
	}{
		{"flat", func(float64, *sample) {}, ""},
		{"warm-up", func(at float64, s *sample) { s.Heap = min(s.Heap, at/700*(20<<20)) }, ""},
		{"a collection that is late", func(at float64, s *sample) {
			if int(at)%45 == 0 {
				s.RSS, s.Heap = 2*s.RSS, 2*s.Heap
			}
		}, ""},
		{"10 KB a second", func(at float64, s *sample) { s.Heap += at * 10_000 }, "heap"},
		{"30 KB a second outside the heap", func(at float64, s *sample) { s.RSS += at * 30_000 }, "rss"},
		{"a goroutine a minute", func(at float64, s *sample) { s.Goroutines += float64(int(at) / 60) }, "goroutines"},
		{"a descriptor per move", func(at float64, s *sample) { s.Descriptors += float64(int(at) / 60) }, "descriptors"},
		{"a room a second", func(at float64, s *sample) { s.Rooms += at }, "rooms"},
		{"conns that stay", func(at float64, s *sample) { s.Conns += at / 2 }, "conns"},
	} {
		o, all := hour(test.grow)
		r := judge(o, all, whole, 60)
		var grows []string
		for _, c := range r.Comparisons {
			if !c.Flat {
				grows = append(grows, c.Quantity)
			}
		}
		if got := strings.Join(grows, " "); got != test.want || r.Flat != (test.want == "") || !r.Whole {
			t.Errorf("%s: %q grows, want %q; flat %v, whole %v", test.name, got, test.want, r.Flat, r.Whole)
		}
	}
	if r := judge(options{time: time.Hour}, nil, whole, 0); r.Flat {
		t.Error("nothing was measured, and it is flat")
	}
}

func TestWhole(t *testing.T) {
	for _, test := range []struct {
		counts counts
		want   bool
	}{
		{counts{Opened: 1000, Messages: 9}, true},
		{counts{Opened: 1000, Messages: 9, Unopened: 5, Posts: 200, Refused: 1}, true},
		{counts{Opened: 1000}, false},
		{counts{Opened: 1000, Messages: 9, Unopened: 6}, false},
		{counts{Opened: 1000, Messages: 9, Posts: 199, Refused: 1}, false},
		{counts{Opened: 1000, Messages: 9, Faults: 1}, false},
	} {
		if got := test.counts.whole(); got != test.want {
			t.Errorf("%+v: %v", test.counts, got)
		}
	}
}

// TestFollower: what a numbered conn may hear, and what not.
func TestFollower(t *testing.T) {
	const e, other = "0123456789abc", "zzzzzzzzzzzzz"
	for _, test := range []struct {
		name  string
		since string
		holes bool
		texts []string // all but the last are right
		bad   bool     // the last one is not
	}{
		{"from the beginning", "", false, []string{"!" + e + ".0", "1 a", "2 b c", "3 "}, false},
		{"from the middle", "", false, []string{"!" + e + ".41", "42 a"}, false},
		{"back", e + ".7", false, []string{"!" + e + ".7", "8 a"}, false},
		{"a message is lost", "", false, []string{"!" + e + ".0", "1 a", "3 b"}, true},
		{"a message comes twice", "", false, []string{"!" + e + ".0", "1 a", "1 a"}, true},
		{"back elsewhere", e + ".7", false, []string{"!" + e + ".8"}, true},
		{"back in a gap", e + ".7", false, []string{"!" + e + ".7 gap"}, true},
		{"back in another epoch", e + ".7", false, []string{"!" + other + ".7 reset"}, true},
		{"a gap for a reader that is not slow", "", false, []string{"!" + e + ".0", "!" + e + ".9 gap"}, true},
		{"a gap for a slow one", "", true, []string{"!" + e + ".0", "!" + e + ".9 gap", "10 x"}, false},
		{"a gap backwards", "", true, []string{"!" + e + ".9", "!" + e + ".9 gap"}, true},
		{"a reset", "", true, []string{"!" + e + ".0", "!" + other + ".0 reset"}, true},
		{"a message before the line", "", false, []string{"1 a"}, true},
		{"no number", "", false, []string{"!" + e + ".0", "hello"}, true},
	} {
		f := &follower{since: test.since, holes: test.holes}
		for i, text := range test.texts {
			_, err := f.take(text)
			if wrong := test.bad && i == len(test.texts)-1; (err != nil) != wrong {
				t.Errorf("%s: %q: %v", test.name, text, err)
			}
		}
	}
}

func TestParseMetrics(t *testing.T) {
	m := parseMetrics([]byte("# HELP a b\na 1\nb{x=\"y z\"} 2.5\nb{x=\"}\"} 1e3\nc NaN\nd\n"))
	if m["a"] != 1 || m["b"] != 1002.5 || len(m) != 3 {
		t.Errorf("%v", m)
	}
}

func TestOptions(t *testing.T) {
	for args, want := range map[string]bool{
		"-for 1h":                        true,
		"-for 90s -move 40s -sample 2s":  true,
		"-for 90s -move 9s -sample 2s":   false,
		"-for 10m -move 0 -rate 1":       true,
		"-for 10s":                       false,
		"-for 60s -sample 5s":            false,
		"-for 1h -move 10ms":             false,
		"-for 1h -rate 0":                false,
		"-for 1h more":                   false,
		"-for 1h -sample 500ms -rate 20": false,
	} {
		if _, err := parse(strings.Fields(args)); (err == nil) != want {
			t.Errorf("%q: %v", args, err)
		}
	}
}
