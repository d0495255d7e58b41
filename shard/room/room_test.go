package room

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

const self, other = 1, 2 // publishers

// got is one message as a router would parse it.
type got struct {
	offset  proto.Offset
	kind    proto.Kind
	conn    uint64
	payload string
}

// read parses what Read gives, through a Deliver frame.
func read(t testing.TB, l *Log, after, upto proto.Offset, limit int, publisher uint32) (out []got, last proto.Offset) {
	t.Helper()
	b, start := proto.BeginDeliver(nil, 0, 1, "r", l.Epoch(), after+1)
	before := len(b)
	b, last = l.Read(b, after, upto, limit, publisher)
	if len(b)-before > limit {
		t.Fatalf("read %d bytes, limit %d", len(b)-before, limit)
	}
	d, err := proto.ParseDeliver(proto.End(b, start)[proto.HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	o := after
	for m, ok := d.Messages.Next(); ok; m, ok = d.Messages.Next() {
		o++
		out = append(out, got{o, m.Kind, m.Conn, string(m.Payload)})
	}
	if err := d.Messages.Err(); err != nil {
		t.Fatal(err)
	}
	if o != last {
		t.Fatalf("read %d messages above %d and says it reached %d", len(out), after, last)
	}
	return out, last
}

func publish(s *Store, l *Log, at time.Duration, payload string) proto.Offset {
	o := s.Append(l, &Message{Publisher: self, Conn: 7, At: at, Payload: []byte(payload)})
	s.Trim(l, at)
	return o
}

func TestReadGivesWhatWasAppended(t *testing.T) {
	s := NewStore(Config{})
	var l Log
	l.Init(proto.MintEpoch(5))
	if l.First() != 1 || l.Head() != 0 || l.Kept() != 0 {
		t.Fatalf("empty log: first %d head %d kept %d", l.First(), l.Head(), l.Kept())
	}
	s.Append(&l, &Message{Kind: proto.KindText, Publisher: self, Conn: 7, Payload: []byte("mine")})
	s.Append(&l, &Message{Kind: proto.KindBinary, Publisher: other, Conn: 8, Payload: []byte("theirs")})
	out, _ := read(t, &l, 0, 99, 1<<20, self)
	want := []got{{1, proto.KindText, 7, "mine"}, {2, proto.KindBinary, 0, "theirs"}}
	if !slices.Equal(out, want) {
		t.Errorf("read %v, want %v", out, want)
	}
	if out, _ := read(t, &l, 0, 1, 1<<20, other); !slices.Equal(out, []got{{1, proto.KindText, 0, "mine"}}) {
		t.Errorf("read up to 1 as the other publisher: %v", out)
	}
}

func TestWhatIsKept(t *testing.T) {
	type step struct {
		at   time.Duration
		n    int // messages
		size int
	}
	const s = time.Second
	tests := []struct {
		name  string
		cfg   Config
		steps []step
		now   time.Duration
		first proto.Offset
	}{
		{"all within bounds", Config{}, []step{{0, 100, 10}}, 60 * s, 1},
		{"older than the history", Config{}, []step{{0, 100, 10}, {60 * s, 1, 10}}, 300 * s, 101},
		{"nothing left", Config{}, []step{{0, 100, 10}}, 300 * s, 101},
		{"too many, but in the window", Config{}, []step{{0, 1500, 10}}, 9 * s, 1},
		{"too many, window over", Config{}, []step{{0, 1500, 10}}, 10 * s, 501},
		{"too many, no window", Config{WindowAge: -1}, []step{{0, 1500, 10}}, 0, 501},
		{"too big, but in the window", Config{}, []step{{0, 300, 10000}}, 0, 1},
		{"too big, window over", Config{}, []step{{0, 300, 10000}}, 10 * s, 300 - 104 + 1},
		{"window full", Config{WindowBytes: 2_003_700}, []step{{0, 300, 10000}}, 0, 300 - 199 + 1},
		{"a single one above the history", Config{HistoryBytes: 100}, []step{{0, 1, 101}}, 1 * s, 1},
		{"and its window over", Config{HistoryBytes: 100}, []step{{0, 1, 101}}, 10 * s, 2},
		{"all windows full", Config{WindowTotal: 100 * (10 + messageCost)}, []step{{0, 1500, 10}}, 0, 401},
		{"history shorter than the window", Config{HistoryAge: s}, []step{{0, 1, 10}, {5 * s, 1, 10}}, 10 * s, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := NewStore(tt.cfg)
			var l Log
			for _, st := range tt.steps {
				for range st.n {
					publish(store, &l, st.at, string(make([]byte, st.size)))
				}
			}
			store.Trim(&l, tt.now)
			if l.First() != tt.first {
				t.Errorf("first = %d, want %d", l.First(), tt.first)
			}
			out, _ := read(t, &l, l.First()-1, l.Head(), 64<<20, self)
			if len(out) != l.Kept() {
				t.Errorf("%d can be read, %d are kept", len(out), l.Kept())
			}
		})
	}
}

func TestNextTrimIsWhenSomethingGoes(t *testing.T) {
	s := NewStore(Config{HistoryMessages: 2})
	var l Log
	for i := range 4 {
		publish(s, &l, time.Duration(i)*time.Second, "x")
	}
	var went []time.Duration
	for at, ok := s.NextTrim(&l); ok; at, ok = s.NextTrim(&l) {
		first := l.First()
		due := s.Due(&l, at-1)
		s.Trim(&l, at-1)
		if l.First() != first || due {
			t.Fatalf("%d went before %v, due %v", first, at, due)
		}
		if !s.Due(&l, at) {
			t.Fatalf("%d is not due at %v", first, at)
		}
		s.Trim(&l, at)
		if l.First() == first {
			t.Fatalf("%d did not go at %v", first, at)
		}
		went = append(went, at)
	}
	want := []time.Duration{10 * time.Second, 11 * time.Second, 302 * time.Second, 303 * time.Second}
	if !slices.Equal(went, want) {
		t.Errorf("went at %v, want %v", went, want)
	}
}

// TestDueLeavesMemoryAside: what this store alone lacks is nothing to tell
// other copies of.
func TestDueLeavesMemoryAside(t *testing.T) {
	s := NewStore(Config{HistoryMessages: 2})
	var l, empty Log
	for range 4 {
		publish(s, &l, 0, "x")
	}
	s.cfg.WindowTotal = 0
	if s.Due(&l, 9*time.Second) || s.Due(&empty, time.Hour) {
		t.Error("due too early")
	}
	if !s.Due(&l, 10*time.Second) {
		t.Error("not due when its window is over")
	}
	if s.Trim(&l, 9*time.Second); l.First() != 3 {
		t.Errorf("first = %d: there is no memory for a window", l.First())
	}
}

func TestTotalDropsTheOldestOfAll(t *testing.T) {
	s := NewStore(Config{Total: 2 << 20})
	logs := make([]Log, 8)
	for i := range 40 { // 64 KiB each: more than fits
		publish(s, &logs[i%8], 0, string(make([]byte, 60_000)))
		if s.Bytes() > 2<<20 {
			t.Fatalf("after %d: %d bytes", i, s.Bytes())
		}
	}
	if s.Shed() == 0 {
		t.Fatal("nothing was shed")
	}
	kept := 0
	for i := range logs {
		l := &logs[i]
		kept += l.Kept()
		if l.Head() != 5 {
			t.Errorf("log %d: head %d, want 5", i, l.Head())
		}
		if out, _ := read(t, l, l.First()-1, l.Head(), 8<<20, self); len(out) != l.Kept() {
			t.Errorf("log %d: %d can be read, %d are kept", i, len(out), l.Kept())
		}
	}
	if kept != 40-int(s.Shed()) {
		t.Errorf("%d kept after %d chunks of one message were shed", kept, s.Shed())
	}
}

// TestTotalHoldsForSmallLogs: a small log whose turn it is to change its chunk may
// be the one that has the oldest, and lose it on the way.
func TestTotalHoldsForSmallLogs(t *testing.T) {
	s := NewStore(Config{Total: 1 << 20})
	logs := make([]Log, 1000)
	for n := range 30 {
		for i := range logs {
			p := fmt.Sprintf("%d of %d: %s", n, i, make([]byte, 100))
			o := publish(s, &logs[i], time.Duration(n)*time.Second, p)
			if s.Bytes() > 1<<20 {
				t.Fatalf("%d bytes after %q", s.Bytes(), p)
			}
			out, last := read(t, &logs[i], logs[i].First()-1, o, 1<<20, self)
			if int(o) != n+1 || last != o || len(out) != logs[i].Kept() || out[len(out)-1] != (got{o, 0, 7, p}) {
				t.Fatalf("%q is at %d, and %d of %d kept ones can be read up to %d", p, o, len(out), logs[i].Kept(), last)
			}
		}
	}
	if s.Shed() == 0 {
		t.Fatal("nothing was shed")
	}
	for i := range logs {
		s.Release(&logs[i])
	}
	if s.Bytes() != 0 || s.oldest != nil {
		t.Errorf("%d bytes are left of nothing", s.Bytes())
	}
}

// TestTimesFarApart: a chunk's messages may be three days apart, a log's as far as
// the history reaches.
func TestTimesFarApart(t *testing.T) {
	s := NewStore(Config{HistoryAge: 1000 * time.Hour, WindowAge: -1})
	var l Log
	var times []time.Duration
	for i := range 20 {
		at := time.Duration(i) * (40*time.Hour + time.Nanosecond)
		times = append(times, at)
		publish(s, &l, at, "x")
	}
	l.Walk(0, l.Head(), func(o proto.Offset, m *Message) bool {
		if m.At != times[o-1] {
			t.Errorf("message %d is of %v, want %v", o, m.At, times[o-1])
		}
		return true
	})
	if l.Kept() != len(times) {
		t.Errorf("%d kept of %d", l.Kept(), len(times))
	}
}

func TestReleaseGivesEverythingBack(t *testing.T) {
	s := NewStore(Config{HistoryMessages: 10})
	var l Log
	for range 3000 {
		publish(s, &l, 0, "some words")
	}
	s.Release(&l)
	if s.Bytes() != 0 || s.window != 0 || s.oldest != nil || s.newest != nil {
		t.Errorf("after release: %d bytes, %d in windows", s.Bytes(), s.window)
	}
	if o := publish(s, &l, 0, "next"); o != 3001 {
		t.Errorf("next offset = %d, want 3001", o)
	}
}

// model is a log as one would write it with a slice.
type model struct {
	all []got
	at  []time.Duration
}

// TestLogIsItsModel drives a few logs of one small store with random messages,
// times and reads. Offsets are gapless, what is kept is a run up to the head
// that is unchanged, within the bounds, and nothing goes before it may.
func TestLogIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{HistoryMessages: 20, HistoryBytes: 2000, HistoryAge: time.Minute, WindowAge: 10 * time.Second, WindowBytes: 8000, WindowTotal: 1 << 40, Total: 1 << 30}
		s := NewStore(cfg)
		logs := make([]Log, 3)
		models := make([]model, 3)
		var now time.Duration
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			i := rapid.IntRange(0, 2).Draw(t, "log")
			l, m := &logs[i], &models[i]
			now += time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 500, 5000, 20000}).Draw(t, "ms")) * time.Millisecond
			for range rapid.IntRange(0, 12).Draw(t, "messages") {
				size := rapid.SampledFrom([]int{0, 1, 30, 300, 700, 3000}).Draw(t, "size")
				p := fmt.Sprintf("%d:%s", l.Head()+1, make([]byte, size))
				pub := rapid.Uint32Range(1, 2).Draw(t, "publisher")
				o := s.Append(l, &Message{Publisher: pub, Conn: uint64(l.Head()) + 100, At: now, Payload: []byte(p)})
				conn := uint64(0)
				if pub == self {
					conn = uint64(o) + 99
				}
				m.all = append(m.all, got{o, 0, conn, p})
				m.at = append(m.at, now)
				if int(o) != len(m.all) {
					t.Fatalf("offset %d, want %d", o, len(m.all))
				}
				if rapid.Bool().Draw(t, "trim") {
					s.Trim(l, now)
				}
			}
			s.Trim(l, now)
			checkKept(t, cfg, l, m, now)
			after := proto.Offset(rapid.IntRange(int(l.First())-1, int(l.Head())).Draw(t, "after"))
			out, last := drawRead(t, l, after)
			if !slices.Equal(out, m.all[after:last]) {
				t.Fatalf("read (%d, %d] differs", after, last)
			}
			checkWalk(t, l, m)
		}
		for i := range logs {
			s.Release(&logs[i])
		}
		if s.Bytes() != 0 || s.window != 0 {
			t.Fatalf("%d bytes, %d in windows after all went", s.Bytes(), s.window)
		}
	})
}

func drawRead(t *rapid.T, l *Log, after proto.Offset) (out []got, last proto.Offset) {
	limit := rapid.IntRange(0, 8000).Draw(t, "limit")
	b, last := l.Read(nil, after, l.Head(), limit, self)
	if len(b) > limit {
		t.Fatalf("read %d bytes, limit %d", len(b), limit)
	}
	if last < l.Head() && len(b) < limit-3100 {
		t.Fatalf("read %d bytes and stopped at %d of %d, limit %d", len(b), last, l.Head(), limit)
	}
	for o := after + 1; len(b) > 0; o++ {
		n := int(binary.BigEndian.Uint32(b[9:]))
		out = append(out, got{o, proto.Kind(b[0]), binary.BigEndian.Uint64(b[1:]), string(b[13 : 13+n])})
		b = b[13+n:]
	}
	return out, last
}

// checkKept says by the words of the design what is kept.
func checkKept(t *rapid.T, cfg Config, l *Log, m *model, now time.Duration) {
	n, size, cost := 0, 0, 0
	wantHistory, wantWindow := len(m.all)+1, len(m.all)+1
	for o := len(m.all); o >= 1; o-- {
		p := len(m.all[o-1].payload)
		n, size, cost = n+1, size+p, cost+p+messageCost
		age := now - m.at[o-1]
		if n <= cfg.HistoryMessages && size <= cfg.HistoryBytes && age < cfg.HistoryAge {
			wantHistory = o
		}
		if age < cfg.WindowAge && cost <= cfg.WindowBytes {
			wantWindow = o
		}
	}
	want := proto.Offset(min(wantHistory, wantWindow))
	if l.First() != want {
		t.Fatalf("first = %d, want %d (history from %d, window from %d, head %d)", l.First(), want, wantHistory, wantWindow, l.Head())
	}
}

// checkWalk walks a part of what is kept, and of what was.
func checkWalk(t *rapid.T, l *Log, m *model) {
	after := proto.Offset(rapid.IntRange(0, int(l.Head())+1).Draw(t, "behind"))
	upto := proto.Offset(rapid.IntRange(0, int(l.Head())+1).Draw(t, "upto"))
	most := rapid.IntRange(1, 50).Draw(t, "most")
	next := max(after+1, l.First())
	want := max(min(min(upto, l.Head())+1, next+proto.Offset(most)), next)
	l.Walk(after, upto, func(o proto.Offset, x *Message) bool {
		if o != next || string(x.Payload) != m.all[o-1].payload || x.At != m.at[o-1] || x.Conn != uint64(o)+99 || x.Publisher == self != (m.all[o-1].conn != 0) {
			t.Fatalf("walk (%d, %d] at %d: have %d, %+v", after, upto, next, o, x)
		}
		next++
		most--
		return most > 0
	})
	if next != want {
		t.Fatalf("walk (%d, %d] ended before %d, want %d", after, upto, next, want)
	}
}

// TestCopiesKeepTheSame: a copy that was begun late, from what another one
// kept, and that was trimmed at other times before, keeps the same messages
// whenever both are trimmed at the same log time, wherever the chunks end.
func TestCopiesKeepTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{HistoryMessages: 20, HistoryBytes: 2000, HistoryAge: time.Minute, WindowAge: 10 * time.Second, WindowBytes: 8000, WindowTotal: 1 << 40, Total: 1 << 30}
		if rapid.Bool().Draw(t, "no window") {
			cfg.WindowAge = -1
		}
		owner, other := NewStore(cfg), NewStore(cfg)
		var l, copied Log
		l.Init(proto.MintEpoch(1))
		var now time.Duration
		learns := rapid.IntRange(0, 30).Draw(t, "learns")
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if step == learns {
				copyLog(t, other, &copied, &l)
			}
			now += time.Duration(rapid.SampledFrom([]int{0, 0, 1, 500, 5000, 20000, 70000}).Draw(t, "ms")) * time.Millisecond
			for range rapid.IntRange(0, 8).Draw(t, "messages") {
				m := Message{Publisher: self, At: now, Payload: make([]byte, rapid.SampledFrom([]int{0, 1, 30, 300, 700, 3000}).Draw(t, "size"))}
				owner.Append(&l, &m)
				if step >= learns {
					other.Append(&copied, &m)
				}
			}
			switch rapid.IntRange(0, 3).Draw(t, "trims") {
			case 0:
				owner.Trim(&l, now)
			case 1:
				if step >= learns {
					other.Trim(&copied, now)
				}
			case 2:
				due, first := owner.Due(&l, now), l.First()
				owner.Trim(&l, now)
				if due != (l.First() > first) {
					t.Fatalf("due %v, and %d messages went", due, l.First()-first)
				}
				if step >= learns {
					other.Trim(&copied, now)
					sameLogs(t, owner, other, &l, &copied)
				}
			}
		}
	})
}

func copyLog(t *rapid.T, s *Store, to, from *Log) {
	to.Init(from.Epoch())
	s.Append(to, &Message{Payload: []byte("of an earlier copy")})
	s.Start(to, from.First()-1)
	if to.Head() != from.First()-1 || to.Kept() != 0 || to.Epoch() != from.Epoch() || s.Bytes() != 0 {
		t.Fatalf("started at %d with %d kept, want %d with none", to.Head(), to.Kept(), from.First()-1)
	}
	from.Walk(0, from.Head(), func(o proto.Offset, m *Message) bool {
		if have := s.Append(to, m); have != o {
			t.Fatalf("%d is %d in the copy", o, have)
		}
		return true
	})
}

// sameLogs compares what two logs keep, and when they drop it.
func sameLogs(t *rapid.T, s, s2 *Store, l, l2 *Log) {
	at, ok := s.NextTrim(l)
	at2, ok2 := s2.NextTrim(l2)
	if l.First() != l2.First() || l.Head() != l2.Head() || l.Bytes() != l2.Bytes() || l.Windowed() != l2.Windowed() || at != at2 || ok != ok2 {
		t.Fatalf("%d to %d, %d bytes, windowed %v, until %v; the copy %d to %d, %d, %v, %v",
			l.First(), l.Head(), l.Bytes(), l.Windowed(), at, l2.First(), l2.Head(), l2.Bytes(), l2.Windowed(), at2)
	}
	b, _ := l.Read(nil, l.First()-1, l.Head(), 1<<20, self)
	b2, _ := l2.Read(nil, l2.First()-1, l2.Head(), 1<<20, self)
	if string(b) != string(b2) {
		t.Fatal("the same messages read differently")
	}
}

// FuzzRoomGapless takes bytes as messages and asks that offsets count up by
// one, and that every message that is kept can be read at its offset.
func FuzzRoomGapless(f *testing.F) {
	f.Add([]byte("\x05hello\x00\x03abc"), uint16(100))
	f.Fuzz(func(t *testing.T, data []byte, limit uint16) {
		s := NewStore(Config{HistoryMessages: 16, WindowBytes: 4096})
		var l Log
		var all []string
		for len(data) > 0 {
			n := min(int(data[0])*8, len(data)-1)
			p := string(data[1 : 1+n])
			at := time.Duration(len(all)) * time.Second
			data = data[1+n:]
			all = append(all, p)
			if o := publish(s, &l, at, p); int(o) != len(all) {
				t.Fatalf("offset %d of message %d", o, len(all))
			}
		}
		for after := l.First() - 1; after < l.Head(); {
			out, last := read(t, &l, after, l.Head(), int(limit)+2100, self)
			if last == after {
				t.Fatalf("nothing can be read above %d", after)
			}
			for _, m := range out {
				if m.payload != all[m.offset-1] {
					t.Fatalf("message %d differs", m.offset)
				}
			}
			after = last
		}
	})
}

func TestSteadyAppendAllocatesNothing(t *testing.T) {
	s := NewStore(Config{WindowAge: -1})
	var l Log
	payload := make([]byte, 128)
	step := func() {
		s.Append(&l, &Message{Publisher: self, Payload: payload})
		s.Trim(&l, 0)
	}
	for range 5000 {
		step()
	}
	if n := testing.AllocsPerRun(5000, step); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func TestIdleLogIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Log{}); size > 32 {
		t.Errorf("a log that keeps nothing takes %d bytes", size)
	}
	const n = 20_000
	logs := make([]Log, n)
	s := NewStore(Config{})
	before := heap()
	for i := range logs {
		publish(s, &logs[i], 0, "a few words")
	}
	one := heap() - before
	for i := range logs {
		s.Trim(&logs[i], time.Hour)
	}
	runtime.KeepAlive(s)
	t.Logf("a log with one small message: %d bytes", one/n)
	if one/n > 300 {
		t.Errorf("a log with one small message takes %d bytes", one/n)
	}
	if s.Bytes() != 0 {
		t.Errorf("%d bytes in use by empty logs", s.Bytes())
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkAppend(b *testing.B) {
	s := NewStore(Config{WindowAge: -1})
	var l Log
	m := &Message{Publisher: self, Payload: make([]byte, 128)}
	b.ReportAllocs()
	for b.Loop() {
		s.Append(&l, m)
		s.Trim(&l, 0)
	}
}

// BenchmarkMemory says what a log costs that keeps so many messages of 128 bytes,
// all of them appended in turns, and what it is more than their payload.
func BenchmarkMemory(b *testing.B) {
	const rooms = 5000
	for _, messages := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			var size float64
			for b.Loop() {
				s, logs := NewStore(Config{Total: 1 << 40}), make([]Log, rooms)
				before := heap()
				for range messages {
					for i := range logs {
						publish(s, &logs[i], 0, string(make([]byte, 128)))
					}
				}
				for range 20 {
					s.Tidy()
				}
				size = float64(heap()-before) / rooms
				runtime.KeepAlive(s)
			}
			b.ReportMetric(size, "B/room")
			b.ReportMetric(size/float64(128*messages), "B/payload-byte")
		})
	}
}
