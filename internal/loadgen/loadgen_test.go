package loadgen

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"
)

// bend decides what a member gets when a message comes to its room, which has seen n with it. So a
// test can make the server wrong on purpose.
type bend func(s *served, member, n int, message []byte) [][]byte

func honest(_ *served, _, _ int, message []byte) [][]byte { return [][]byte{message} }

// server is a tiny room server.
type server struct {
	bend bend

	mu    sync.Mutex
	rooms map[string]*served
}

type served struct {
	conns []net.Conn
	count int
	held  [][]byte // for a bend
}

func serve(t *testing.T, b bend) string {
	s := &server{rooms: map[string]*served{}, bend: b}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return "ws" + strings.TrimPrefix(h.URL, "http") + "/?room={room}"
}

func (s *server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	conn, rw, _, err := ws.UpgradeHTTP(q, w)
	if err != nil {
		return
	}
	defer conn.Close()
	s.mu.Lock()
	r := s.rooms[q.FormValue("room")]
	if r == nil {
		r = &served{}
		s.rooms[q.FormValue("room")] = r
	}
	r.conns = append(r.conns, conn)
	s.mu.Unlock()
	for {
		message, op, err := wsutil.ReadClientData(readWriter{rw, conn})
		if err != nil {
			return
		}
		s.publish(r, op, message)
	}
}

func (s *server) publish(r *served, op ws.OpCode, message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.count++
	for i, c := range r.conns {
		for _, m := range s.bend(r, i, r.count, message) {
			wsutil.WriteServerMessage(c, op, m)
		}
	}
}

type readWriter struct {
	io.Reader
	io.Writer
}

func small(url string) Config {
	return Config{URLs: []string{url}, Rooms: 3, Members: 4, Publishers: 2, Window: 4,
		For: 150 * time.Millisecond, Settle: 20 * time.Millisecond, Quiet: 500 * time.Millisecond}
}

func TestHonestServerHasNoFaults(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, change := range map[string]func(*Config){
		"closed loop":         func(*Config) {},
		"open loop":           func(c *Config) { c.Rate = 2000 },
		"binary":              func(c *Config) { c.Binary = true },
		"large messages":      func(c *Config) { c.Size = 70_000 },
		"one member":          func(c *Config) { c.Members, c.Publishers = 1, 1 },
		"longer than a stall": func(c *Config) { c.Window, c.For, c.Quiet = 1, 1200*time.Millisecond, 500*time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := small(serve(t, honest))
			cfg.Quiet = 5 * time.Second // only a machine that stands still is quiet for so long
			change(&cfg)
			got, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got.Failed() || got.Disagree > 0 || got.Foreign > 0 || got.Stalls > 0 {
				t.Errorf("faults of a server without any: %+v", got)
			}
			if want := got.Published * uint64(cfg.Members); got.Published == 0 || got.Delivered != want {
				t.Errorf("published %d, delivered %d, want %d", got.Published, got.Delivered, want)
			}
			if got.P50 <= 0 || got.P50 > got.P99 || got.P999 > got.Max*1.02 {
				t.Errorf("percentiles out of order: %v %v %v %v", got.P50, got.P99, got.P999, got.Max)
			}
		})
	}
}

func TestFaultsAreFound(t *testing.T) {
	tests := []struct {
		name string
		bend bend
		want func(*Report) bool
	}{
		{"drops every fifth for one member", func(_ *served, member, n int, m []byte) [][]byte {
			if member == 1 && n%5 == 0 {
				return nil
			}
			return [][]byte{m}
		}, func(r *Report) bool { return r.Lost > 0 && r.Doubled == 0 && r.Reordered == 0 }},
		{"drops the first for everybody", func(_ *served, _, n int, m []byte) [][]byte {
			if n == 1 {
				return nil
			}
			return [][]byte{m}
		}, func(r *Report) bool { return r.Lost == 3*4 && r.Doubled == 0 }},
		{"repeats", func(_ *served, member, n int, m []byte) [][]byte {
			if member == 2 && n == 5 {
				return [][]byte{m, m}
			}
			return [][]byte{m}
		}, func(r *Report) bool { return r.Doubled == 3 && r.Lost == 0 && r.Reordered == 0 }},
		{"swaps a publisher's messages", holdOne(0, true),
			func(r *Report) bool { return r.Reordered == 3 && r.Lost == 0 && r.Doubled == 0 }},
		{"mixes rooms", func(_ *served, member, n int, m []byte) [][]byte {
			if member == 0 && n == 2 {
				strange := bytes.Clone(m)
				stamp{}.put(strange)
				return [][]byte{m, strange}
			}
			return [][]byte{m}
		}, func(r *Report) bool { return r.Foreign == 3 && !r.Faulty() }},
		{"different orders for two members", holdOne(3, false),
			func(r *Report) bool { return r.Disagree == 3 && !r.Faulty() }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Run(t.Context(), small(serve(t, test.bend)))
			if err != nil {
				t.Fatal(err)
			}
			if !test.want(got) {
				t.Errorf("not found: %+v", got)
			}
		})
	}
}

// holdOne lets a member wait for the fifth message until after the next one of the same, or of
// another, publisher. The messages between keep their places.
func holdOne(late int, same bool) bend {
	return func(s *served, member, n int, m []byte) [][]byte {
		if member != late || n < 5 {
			return [][]byte{m}
		}
		if n == 5 {
			s.held = [][]byte{bytes.Clone(m)}
			return nil
		}
		if s.held == nil {
			return [][]byte{m}
		}
		first, _ := readStamp(s.held[0])
		next, _ := readStamp(m)
		if (first.pub == next.pub) == same {
			out := append([][]byte{m}, s.held...)
			s.held = nil
			return out
		}
		if same {
			return [][]byte{m}
		}
		s.held = append(s.held, bytes.Clone(m)) // of the same publisher: its order is kept
		return nil
	}
}

func TestConnectErrorsAndLeavers(t *testing.T) {
	alive := serve(t, honest)
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	cfg := small(alive)
	cfg.URLs = append(cfg.URLs, "ws"+strings.TrimPrefix(refusing.URL, "http")+"/?room={room}")
	got, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got.Conns != 6 || got.ConnectErrors != 6 || !got.Failed() || got.Faulty() || !strings.Contains(got.FirstError, "404") {
		t.Errorf("half of the conns refused: %+v", got)
	}
	cfg.URLs = cfg.URLs[1:]
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no conn opened") {
		t.Errorf("err = %v, want that no conn opened", err)
	}
}

func TestIdleCountsConnsThatEnd(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(q, w)
		if err != nil {
			return
		}
		defer conn.Close()
		if strings.HasSuffix(q.FormValue("room"), "-0") {
			ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(4008, "slow")))
			return
		}
		ws.WriteFrame(conn, ws.NewPingFrame(nil))
		io.Copy(io.Discard, conn)
	}))
	defer h.Close()
	got, err := Run(t.Context(), Config{URLs: []string{"ws" + strings.TrimPrefix(h.URL, "http") + "/?room={room}"},
		Rooms: 2, Members: 3, For: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if got.Conns != 6 || got.Closed != 3 || !strings.Contains(got.FirstError, `4008 "slow"`) {
		t.Errorf("three of six conns closed: %+v", got)
	}
}

// TestPauses has the server hold back one room for a while.
func TestPauses(t *testing.T) {
	const held = 150 * time.Millisecond
	var once sync.Once
	free := make(chan time.Time, 1) // receives the time when the pause is over
	cfg := small(serve(t, func(_ *served, _, n int, m []byte) [][]byte {
		if n == 5 {
			once.Do(func() { // the server's lock is held: all rooms wait
				<-time.After(held)
				free <- time.Now()
			})
		}
		return [][]byte{m}
	}))
	cfg.Rate, cfg.For, cfg.Pauses = 2000, time.Hour, NewPauses(cfg.Rooms)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Run(ctx, cfg)
		ended <- err
	}()
	heardSince := func(when time.Time) {
		for cfg.Pauses.HeardSince(when) < cfg.Rooms {
			select {
			case <-time.After(time.Millisecond):
			case err := <-ended:
				t.Fatalf("the run ended early: %v", err)
			}
		}
	}
	select {
	case over := <-free:
		heardSince(over)
	case err := <-ended:
		t.Fatalf("the run ended early: %v", err)
	}
	if lap := cfg.Pauses.Lap(); len(lap) != cfg.Rooms || lap[0] < held*3/4 {
		t.Errorf("pauses %v, want one of %v or a little less in each room", lap, held)
	}
	heardSince(time.Now())
	if lap := cfg.Pauses.Lap(); len(lap) != cfg.Rooms { // how long they are is the machine's affair
		t.Errorf("pauses %v of the lap after it", lap)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	cfg.Pauses.Lap()
	if lap := cfg.Pauses.Lap(); len(lap) != 0 || cfg.Pauses.HeardSince(time.Now()) != 0 {
		t.Errorf("pauses %v after the run", lap)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	cfg := small(serve(t, honest))
	cfg.For = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	got, err := Run(ctx, cfg)
	if err != nil || got.Faulty() {
		t.Errorf("interrupted run: %+v, %v", got, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	ok := Config{URLs: []string{"ws://x/{room}"}, Rooms: 2, Members: 2}
	for name, change := range map[string]func(*Config){
		"no URL":         func(c *Config) { c.URLs = nil },
		"not ws":         func(c *Config) { c.URLs = []string{"http://x/{room}"} },
		"no {room}":      func(c *Config) { c.URLs = []string{"ws://x/"} },
		"one room":       func(c *Config) { c.Rooms = 0 },
		"message size":   func(c *Config) { c.Size = MinSize - 1 },
		"too many":       func(c *Config) { c.Rooms, c.Members, c.Publishers = 10_000, 1000, 1000 },
		"negative":       func(c *Config) { c.Rate = -1 },
		"negative times": func(c *Config) { c.For = -1 },
		"pauses":         func(c *Config) { c.Pauses = NewPauses(3) },
	} {
		cfg := ok
		change(&cfg)
		if _, err := cfg.withDefaults(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ok.withDefaults(); err != nil {
		t.Errorf("good config: %v", err)
	}
}

func TestTracker(t *testing.T) {
	var tr tracker
	for i, step := range []struct {
		seq  uint32
		want verdict
	}{{1, inOrder}, {2, inOrder}, {2, doubled}, {5, inOrder}, {3, reordered}, {3, doubled}, {5, doubled}, {maxGap + 7, absurd}, {6, inOrder}} {
		if got := tr.saw(step.seq); got != step.want {
			t.Errorf("step %d: saw(%d) = %d, want %d", i, step.seq, got, step.want)
		}
	}
	if got := tr.lost(8); got != 3 { // 4, 7 and 8
		t.Errorf("lost = %d, want 3", got)
	}
}

func TestLatencyBuckets(t *testing.T) {
	for _, d := range []int64{0, 1, 63, 64, 65, 1000, 123_456, 98_765_432, int64(time.Hour), 1<<63 - 1} {
		got := middleOf(bucketOf(d))
		if diff := got - d; diff > d/64+1 || -diff > d/64+1 {
			t.Errorf("%d is counted as %d", d, got)
		}
	}
	shards := make([]Latencies, 2)
	for i := range int64(1000) {
		shards[i%2].Add(i * 1000)
	}
	q := Quantiles(shards, 0.5, 0.99)
	if q[0] < 490*time.Microsecond || q[0] > 510*time.Microsecond || q[1] < 975*time.Microsecond || q[1] > 1005*time.Microsecond {
		t.Errorf("quantiles = %v", q)
	}
	if got := Maximum(shards); got != 999*time.Microsecond {
		t.Errorf("maximum = %v", got)
	}
}

func TestStampSurvives(t *testing.T) {
	want := stamp{run: 1<<32 - 1, room: 7, pub: 65535, seq: 1 << 31, at: -1}
	b := make([]byte, MinSize)
	want.put(b)
	if got, ok := readStamp(b); !ok || got != want {
		t.Errorf("read %+v %v, want %+v", got, ok, want)
	}
	for _, bad := range []string{"", "hello", string(b[:MinSize-1]), "xx" + string(b[2:]), string(b[:MinSize-1]) + "z"} {
		if _, ok := readStamp([]byte(bad)); ok {
			t.Errorf("%q taken for a stamp", bad)
		}
	}
}

func TestFramesParseUnderEverySplit(t *testing.T) {
	for _, n := range []int{0, 125, 126, 65535, 65536} {
		whole := ws.MustCompileFrame(ws.NewBinaryFrame(bytes.Repeat([]byte{7}, n)))
		for cut := 0; cut < len(whole); cut += 1 + cut/20 {
			if _, size, need, err := parseFrame(whole[:cut]); size != 0 || need <= cut || err != nil {
				t.Fatalf("%d of %d bytes: size %d, need %d, %v", cut, len(whole), size, need, err)
			}
		}
		if f, size, _, err := parseFrame(whole); err != nil || size != len(whole) || len(f.payload) != n {
			t.Errorf("whole frame of %d: %d %v", n, size, err)
		}
	}
	for _, bad := range []string{"\x82\x80", "\xc2\x00", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"} {
		if _, _, _, err := parseFrame([]byte(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
