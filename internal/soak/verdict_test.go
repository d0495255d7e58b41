package main

import (
	"errors"
	"io"
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

// TestGapOfWhoComesBack: it is right as long as what it took is old, and a fault else.
func TestGapOfWhoComesBack(t *testing.T) {
	const e, other = "0123456789abc", "zzzzzzzzzzzzz"
	for _, test := range []struct {
		line string
		gone uint64 // offsets up to here are old
		bad  bool
	}{
		{"!" + e + ".9 gap", 9, false},
		{"!" + e + ".9 gap", 8, true},
		{"!" + e + ".7 gap", 9, true},
		{"!" + e + ".9", 9, true},
		{"!" + other + ".9 gap", 9, true},
		{"!" + other + ".9 reset", 9, true},
	} {
		f := &follower{since: e + ".7", gone: func(offset uint64) bool { return offset <= test.gone }}
		if _, err := f.take(test.line); (err != nil) != test.bad || (f.aged == 1) == test.bad {
			t.Errorf("%s, %d gone: %v, %d aged", test.line, test.gone, err, f.aged)
		}
	}
	f := &follower{gone: func(offset uint64) bool { return offset <= 9 }}
	for _, text := range []string{"!" + e + ".1", "2 x", "!" + e + ".9 gap", "10 x"} {
		if _, err := f.take(text); err != nil {
			t.Errorf("who stays: %v", err)
		}
	}
	if _, err := f.take("!" + e + ".11 gap"); err == nil || f.aged != 1 {
		t.Error("who stays may be told of a gap up to what is young")
	}
	if _, err := f.take("!" + other + ".0 reset"); !errors.Is(err, errReset) {
		t.Errorf("a room that began anew: %v", err)
	}
	r := &regular{}
	r.sent.Store(2)
	r.times[0].Store(time.Now().Add(-historyAge - time.Second).UnixNano())
	r.times[1].Store(time.Now().UnixNano())
	if !r.gone(1) || r.gone(2) || r.gone(3) {
		t.Error("who is old is not known")
	}
}

// TestWhoseFault: a conn that the server ends without a word is our own fault only if we had no time.
func TestWhoseFault(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name  string
		err   error
		late  time.Duration
		fault bool
	}{
		{"in time", io.EOF, time.Second, true},
		{"late", io.EOF, tooLate, false},
		{"late, with a word", &closed{code: 1013}, time.Minute, true},
		{"late, and slow", &closed{code: closeSlow}, time.Minute, false},
		{"slow", &closed{code: closeSlow}, 0, true},
	} {
		var told strings.Builder
		h := &churn{canary: &canary{}, tally: tally{tell: &told, when: func() string { return "1 s" }}}
		h.canary.came(now.Add(-test.late), now)
		h.ended(test.err, "lobby: %v", test.err)
		n := h.tally.end()
		if n.Faults+n.Late != 1 || (n.Faults == 1) != test.fault || !strings.Contains(told.String(), "1 s: lobby: ") {
			t.Errorf("%s: %+v, %q", test.name, n, told.String())
		}
	}
	c := &canary{began: now, read: now}
	c.came(now.Add(-7*time.Second), now.Add(time.Second))
	c.came(now.Add(time.Second), now.Add(time.Second))
	for after, want := range map[time.Duration]time.Duration{2 * time.Second: 8 * time.Second, 5 * time.Minute: 299*time.Second - canaryPace} {
		if got := c.worst(now.Add(after)); got != want {
			t.Errorf("after %s: %s late, want %s", after, got, want)
		}
	}
}

// TestFaultsAreTold: the first ones at once, all in number.
func TestFaultsAreTold(t *testing.T) {
	var told strings.Builder
	y := tally{tell: &told, when: func() string { return "3 s, a shard drains" }}
	for i := range 2 * maxFaults {
		y.fault("lobby: %d", i)
	}
	n := y.end()
	if lines := strings.Split(told.String(), "\n"); len(lines) != maxFaults+1 || lines[0] != "FAULT 3 s, a shard drains: lobby: 0" || n.Faults != 2*maxFaults || len(n.First) != maxFaults {
		t.Errorf("%d faults, told %q", n.Faults, lines)
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
