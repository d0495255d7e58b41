package verify

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestStampSurvives(t *testing.T) {
	want := stamp{room: 1<<24 - 1, member: 70_000, conn: 65535, seq: 1<<32 - 1, at: 1<<48 - 1}
	for _, size := range []int{MinSize, 100, 70_000} {
		c := codec{1<<32 - 1, size}
		for _, isBinary := range []bool{false, true} {
			b := c.append(nil, want, isBinary)
			if got, what := c.read(b, isBinary); got != want || what != good || len(b) != size {
				t.Errorf("%d bytes: read %+v, %d", len(b), got, what)
			}
			if _, what := c.read(b, !isBinary); what != changed {
				t.Error("text and binary are the same")
			}
			if _, what := (codec{1, size}).read(b, isBinary); what != strange {
				t.Error("a message of another run is taken")
			}
		}
	}
	c := codec{1, MinSize}
	for text, want := range map[string]content{"": strange, "r": strange, "hello": strange, "rv": changed, strings.Repeat("x", MinSize): changed} {
		if _, what := c.read([]byte(text), false); what != want {
			t.Errorf("%q is %d, want %d", text, what, want)
		}
	}
}

func TestAnyOtherByteIsSeen(t *testing.T) {
	c := codec{3, 60}
	b := c.append(nil, stamp{1, 2, 3, 4, 5}, false)
	for i := range b {
		for v := range 256 {
			other := bytes.Clone(b)
			other[i] = byte(v)
			if _, what := c.read(other, false); what != changed && !bytes.Equal(b, other) {
				t.Fatalf("byte %d as %d is %d", i, v, what)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ranges
		have := map[uint32]bool{}
		for _, n := range rapid.SliceOfN(rapid.Uint32Range(0, 40), 0, 60).Draw(t, "numbers") {
			if r.has(n) != have[n] {
				t.Fatalf("has(%d) = %v: %v", n, r.has(n), r)
			}
			if !have[n] {
				r, have[n] = r.add(n), true
			}
		}
		for i, e := range r {
			if e[0] > e[1] || i > 0 && r[i-1][1]+1 >= e[0] {
				t.Fatalf("not in order: %v", r)
			}
		}
	})
	var r ranges
	for n := uint32(0); n < 3*maxRanges; n += 2 {
		r = r.add(n)
	}
	if len(r) != maxRanges || !r.has(3*maxRanges-2) || r.has(0) {
		t.Errorf("%d ranges, from %v", len(r), r[0])
	}
}

func TestStreamRemembersWhatNobodySaw(t *testing.T) {
	var s stream
	for at := range int64(1000) {
		s.send(at)
	}
	for n := uint32(2); n <= 1000; n++ {
		if first, ok := s.saw(n, int64(n-1)); !first || !ok {
			t.Fatalf("saw(%d) = %v %v", n, first, ok)
		}
	}
	if s.waiting() != 1 || len(s.unseen) > 200 || s.unseen[0].seq != 1 {
		t.Errorf("%d waiting, %d kept", s.waiting(), len(s.unseen))
	}
	for _, test := range []struct {
		seq       uint32
		at        int64
		first, ok bool
	}{{500, 499, false, true}, {0, 0, false, false}, {1001, 1000, false, false}, {1, 7, false, false}, {1, 0, true, true}, {1, 0, false, true}} {
		if first, ok := s.saw(test.seq, test.at); first != test.first || ok != test.ok {
			t.Errorf("saw(%d, %d) = %v %v", test.seq, test.at, first, ok)
		}
	}
	if s.waiting() != 0 || len(s.unseen) != 0 {
		t.Errorf("%+v", s.unseen)
	}
}

func TestPeriods(t *testing.T) {
	begins := []int64{0, int64(time.Second), int64(2 * time.Second)}
	at := func(ms int64) int64 { return ms * int64(time.Millisecond) }
	for _, test := range []struct {
		sent, came int64
		want       int
	}{
		{at(10), at(12), 0}, {at(10), at(1500), 0}, {at(10), at(9000), 0},
		{at(949), at(1500), 0}, {at(951), at(1500), 1}, {at(951), at(999), 0},
		{at(1000), at(1001), 1}, {at(1960), at(2500), 2}, {at(5000), at(5001), 2},
	} {
		if got := periodSent(begins, test.sent, test.came); got != test.want {
			t.Errorf("sent %d, came %d: period %d, want %d", test.sent, test.came, got, test.want)
		}
	}
}

func TestTooManyEvents(t *testing.T) {
	tally := newTally()
	for n := range maxEvents + 10 {
		p := tally.begin("event", int64(n))
		if (p == nil) != (n >= maxEvents) {
			t.Fatalf("event %d: %v", n, p)
		}
	}
	tally.note(fault{kind: lost, at: 1 << 40})
	if tally.periods[maxEvents].counts[lost] != 1 || tally.faults.Load() != 1 {
		t.Error("the last event does not go on")
	}
}

func TestTimelineHalves(t *testing.T) {
	const limit = 80
	line := timeline{limit: limit}
	line.from(time.Second)
	now := time.Second
	for range limit + limit/4 {
		line.add(int64(3 * time.Millisecond))
		now += line.width + 100*time.Millisecond
		line.tick(now)
	}
	if n := len(line.points); n != limit*3/4 || line.width != 2*firstWidth || line.points[0].At != 0 {
		t.Errorf("%d points of %s", n, line.width)
	}
	if !slices.IsSortedFunc(line.points, func(a, b Point) int { return int(a.At*1000) - int(b.At*1000) }) {
		t.Error("not in order")
	}
	if p := line.points[10]; p.PerSecond <= 0 || p.P50 < 2.9 || p.P50 > 3.1 {
		t.Errorf("%+v", p)
	}
}

func TestConfigIsChecked(t *testing.T) {
	if err := Check(Config{URLs: []string{"ws://x"}}); err != nil {
		t.Errorf("good config: %v", err)
	}
	for url, want := range map[string]string{
		"ws://h:1":                  "ws://h:1/ws?num=1&room=a+b",
		"wss://h/x?token=t":         "wss://h/x?num=1&room=a+b&token=t",
		"ws://h/ws?room={room}":     "ws://h/ws?num=1&room=a+b",
		"ws://h/ws?room={room}&z=1": "ws://h/ws?num=1&room=a+b&z=1",
	} {
		if got := address(url, "a b", ""); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	if got := address("ws://h", "r", "0000000000001.7"); got != "ws://h/ws?num=1&room=r&since=0000000000001.7" {
		t.Error(got)
	}
}

// BenchmarkJudge is one delivery in a room of 10 members.
func BenchmarkJudge(b *testing.B) {
	const members = 10
	c := codec{7, 128}
	j := newJudge(c, 0, members, 1<<14, func(f fault) { b.Fatalf("%+v", f) })
	for m := range members {
		j.opened(m)
		j.heard(m, line{}, 0)
	}
	var payload []byte
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		offset := uint64(n/members) + 1
		if n%members == 0 {
			payload = j.send(payload[:0], int(offset%members), false, int64(n))
		}
		j.came(n%members, offset, payload, false, int64(n)*int64(time.Millisecond))
		if n%(members*1000) == 0 {
			j.sweep(int64(n) * int64(time.Millisecond))
		}
	}
}
