package verify

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// during runs cfg, and does something at a time after the first message.
func (w *world) during(cfg Config, at time.Duration, do func()) *Report {
	lines, name := io.Pipe()
	cfg.Events = lines
	go func() {
		defer name.Close()
		time.Sleep(at)
		fmt.Fprintln(name, "the event")
		do()
	}()
	return run1(w.t, cfg)
}

func TestAPauseBelongsToItsEvent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.small(w.serve(&server{}))
		cfg.Rooms, cfg.For = 10, 10*time.Second
		got := w.during(cfg, 4*time.Second, func() {
			w.net.Cut("10.0.0.1", "127.0.0.1")
			time.Sleep(2 * time.Second)
			w.net.Heal("10.0.0.1", "127.0.0.1")
		})
		faults(t, got, Counts{})
		if len(got.Events) != 2 || got.Events[1].Name != "the event" {
			t.Fatalf("events: %+v", got.Events)
		}
		before, event := got.Events[0], got.Events[1]
		if before.PauseMax > 3 || before.Rooms != 10 || event.Rooms != 10 {
			t.Errorf("before: %+v", before)
		}
		if event.PauseMax < 1900 || event.PauseMax > 2010 || event.PauseP50 < 1800 || got.PauseMax != event.PauseMax {
			t.Errorf("pause of a cut of 2 s: %+v", event.Counts)
		}
		if at := event.At; at < 3.9 || at > 4.1 {
			t.Errorf("the event is at %v s", at)
		}
		silent := 0
		for _, p := range got.Timeline {
			if p.At > 4.1 && p.At < 5.8 && p.PerSecond == 0 {
				silent++
			}
		}
		if silent < 15 {
			t.Errorf("the timeline shows no pause: %+v", got.Timeline)
		}
	})
}

func TestAllComeBackElsewhere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &server{}
		straight := w.serve(s)
		first, second := w.bend(&proxy{target: straight}), w.bend(&proxy{target: straight})
		cfg := w.small(first)
		cfg.URLs = append(cfg.URLs, second)
		cfg.Rooms, cfg.Members, cfg.For, cfg.Reconnect = 10, 4, 10*time.Second, true
		got := w.during(cfg, 4*time.Second, func() {
			w.net.Break("127.0.0.1", "10.0.0.2")
			w.net.Cut("127.0.0.1", "10.0.0.2")
		})
		want := Counts{Closed: 20, Reconnects: 20, ResumedWhole: 20, Unplaced: got.Unplaced}
		back := []float64{got.BackP50, got.BackP99, got.BackMax}
		faults(t, got, want)
		if !got.Held || back[0] <= 0 || back[2] < back[1] || back[2] > 6000 {
			t.Errorf("way back %v ms: %s", back, got.Verdict)
		}
		if e := got.Events[1]; e.Closed != 20 || e.ResumedWhole != 20 || got.Events[0].Closed != 0 {
			t.Errorf("events: %+v", got.Events)
		}
		if len(got.Closes) != 1 || got.Closes[0] != (Close{0, "connection reset", 20}) {
			t.Errorf("closes: %+v", got.Closes)
		}
	})
}

// TestARouterThatStarts: who reconnects tries again at the start, for a while.
func TestARouterThatStarts(t *testing.T) {
	for _, test := range []struct {
		name      string
		reconnect bool
		refuse    int // tries
		want      int // conns that open
		held      bool
	}{
		{"and is waited for", true, 30, 6, true},
		{"and nobody waits", false, 30, 0, false},
		{"and nobody waits for what is short", false, 2, 4, false},
		{"and never comes", true, 1 << 30, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				cfg := w.small(w.bend(&proxy{target: w.serve(&server{}), refuse: test.refuse}))
				cfg.Reconnect = test.reconnect
				said := 0
				cfg.Progress = func(p Progress) {
					if p.Phase == "connecting" && p.DialErrors > 0 && strings.Contains(p.FirstError, "503") {
						said++
					}
				}
				began := time.Now()
				got := run1(t, cfg)
				if got.Held != test.held || got.Conns != test.want || got.NotOpened != 6-test.want || got.DialErrors == 0 {
					t.Errorf("%+v", got)
				}
				if !test.held && !strings.Contains(got.Verdict, "did not open") && !strings.Contains(got.Verdict, "no conn opened") {
					t.Error(got.Verdict)
				}
				if test.reconnect && said == 0 {
					t.Error("nobody was told")
				}
				if took := time.Since(began); took > 2*firstBound {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestAPauseAboveTheLimit: what was cut off for 2 s breaks a limit of 1 s, and none of 3 s.
func TestAPauseAboveTheLimit(t *testing.T) {
	for limit, above := range map[time.Duration]uint64{0: 0, time.Second: 10, 3 * time.Second: 0} {
		inWorld(t, func(t *testing.T, w *world) {
			cfg := w.small(w.serve(&server{}))
			cfg.Rooms, cfg.For, cfg.MaxPause = 10, 6*time.Second, limit
			got := w.during(cfg, 2*time.Second, func() {
				w.net.Cut("10.0.0.1", "127.0.0.1")
				time.Sleep(2 * time.Second)
				w.net.Heal("10.0.0.1", "127.0.0.1")
			})
			if got.TooLong != above || got.Held != (above == 0) || got.Events[0].TooLong != 0 || got.Events[1].TooLong != above {
				t.Errorf("limit %s: held %v, %d above: %s", limit, got.Held, got.TooLong, got.Verdict)
			}
			if said := strings.Contains(got.Verdict, "10 rooms paused for longer than 1 s, up to "); said != (above > 0) {
				t.Error(got.Verdict)
			}
		})
	}
}

// TestWhatAResetTakes: one member of each room hears nothing for a while before a reset, which the others do.
func TestWhatAResetTakes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &server{}
		deaf := &proxy{target: w.serve(s), down: func(l *leg, f ws.Frame) []ws.Frame {
			offset, _, ok := split(f)
			if !ok && strings.HasSuffix(string(f.Payload), " reset") {
				l.held = []ws.Frame{f}
			}
			if ok && l.number == 1 && l.held == nil && offset > 250 {
				return nil
			}
			return []ws.Frame{f}
		}}
		cfg := w.small(w.bend(deaf))
		cfg.For, cfg.Allow = 4*time.Second, Allow{Resets: true}
		var want uint64
		got := w.during(cfg, 2*time.Second, func() {
			s.each(func(r *served) { want += uint64(len(r.log)) - 250 })
			s.restart(" reset")
		})
		if got.Taken > want || got.Taken+10 < want || got.Events[1].Taken != got.Taken || want < 60 {
			t.Errorf("%d taken, want %d, but for what nobody heard", got.Taken, want)
		}
		said := fmt.Sprintf("6 resets were announced, which took %d acknowledged messages from members who lack them", got.Taken)
		if !got.Held || got.Lost > 0 || !strings.Contains(got.Verdict, said) {
			t.Error(got.Verdict)
		}
	})
}

func TestResets(t *testing.T) {
	for _, test := range []struct {
		name, word string
		allow      Allow
		want       Counts
		held       bool
	}{
		{"announced", " reset", Allow{}, Counts{Resets: 6}, false},
		{"announced and allowed", " reset", Allow{Resets: true}, Counts{Resets: 6}, true},
		{"not announced", "", Allow{Resets: true}, Counts{Malformed: 6}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				s := &server{}
				cfg := w.small(w.serve(s))
				cfg.For, cfg.Allow = 2*time.Second, test.allow
				got := w.during(cfg, time.Second, func() { s.restart(test.word) })
				faults(t, got, test.want)
				if got.Held != test.held {
					t.Error(got.Verdict)
				}
			})
		})
	}
}

func TestNothingToJudge(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		got := run1(t, w.small("ws://10.9.9.9:80/ws"))
		if got.Held || !strings.Contains(got.Verdict, "no conn opened: connect ws://10.9.9.9:80/ws?") || got.NotOpened != 6 {
			t.Errorf("%+v", got)
		}
	})
	inWorld(t, func(t *testing.T, w *world) {
		got := run1(t, w.small(w.serve(&server{append: func(*served, entry) []entry { return nil }})))
		if got.Held || !strings.Contains(got.Verdict, "nothing was delivered, 120 messages lost") {
			t.Error(got.Verdict)
		}
	})
	inWorld(t, func(t *testing.T, w *world) {
		got := run1(t, w.small(w.host(http.NotFoundHandler(), func() {})))
		if got.Held || !strings.Contains(got.Verdict, "404") {
			t.Error(got.Verdict)
		}
	})
	inWorld(t, func(t *testing.T, w *world) { // some conns do not open
		full := &proxy{target: w.serve(&server{}), refuse: 2}
		got := run1(t, w.small(w.bend(full)))
		if got.Held || got.Conns != 4 || got.NotOpened != 2 || !strings.Contains(got.Verdict, "2 conns did not open") {
			t.Error(got.Verdict)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		cfg := w.small(w.serve(&server{}))
		cfg.For = time.Hour
		var phases []string
		cfg.Progress = func(p Progress) {
			if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
				phases = append(phases, p.Phase)
			}
			if p.Phase == "sending" && (p.Conns != 6 || p.Want != 6 || p.PerSecond < 800 || p.PerSecond > 910) {
				t.Errorf("progress: %+v", p)
			}
		}
		got, err := Run(ctx, cfg)
		var text bytes.Buffer
		if werr := got.WriteText(&text); werr != nil || !strings.Contains(strings.Join(strings.Fields(text.String()), " "), "interrupted, before 3600.0 s were over") {
			t.Errorf("%v, %s", werr, text.String())
		}
		if err != nil || !got.Held || got.Acked < 4*300 || got.Seconds < 4 || got.Seconds > 6 {
			t.Errorf("%v, %+v", err, got)
		}
		if strings.Join(phases, " ") != "sending waiting" {
			t.Errorf("phases %v", phases)
		}
	})
}

func TestCommands(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no sh")
	}
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.small(w.serve(&server{}))
		cfg.For = 2 * time.Second
		cfg.At = []Command{{time.Second, "echo well; exit 3"}, {500 * time.Millisecond, "true"}}
		var done []Done
		cfg.Done = func(d Done) { done = append(done, d) }
		got := run1(t, cfg)
		faults(t, got, Counts{})
		if len(got.Events) != 3 || got.Events[1].Name != "true" || !got.Events[1].Command || got.Events[1].ExitCode != 0 {
			t.Fatalf("events: %+v", got.Events)
		}
		if e := got.Events[2]; e.ExitCode != 3 || e.Output != "well\n" || e.At < 1 || e.At > 1.1 {
			t.Errorf("event: %+v", e)
		}
		if len(done) != 2 || done[1].Line != "echo well; exit 3" || done[1].ExitCode != 3 || !got.Held {
			t.Errorf("done: %+v", done)
		}
	})
}

func TestACommandThatDoesNotEnd(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no sh")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := filepath.Join(t.TempDir(), "begun")
	go func() {
		defer cancel()
		again := time.NewTicker(5 * time.Millisecond)
		defer again.Stop()
		for ctx.Err() == nil {
			if _, err := os.Stat(begun); err == nil {
				return
			}
			<-again.C
		}
	}()
	began := time.Now()
	code, out := execute(ctx, "echo begun; : > '"+begun+"'; sleep 60; echo over")
	if code != -1 || !strings.HasPrefix(out, "begun\n") || strings.Contains(out, "over") || time.Since(began) > 30*time.Second {
		t.Errorf("code %d, %q", code, out)
	}
	code, out = execute(t.Context(), "yes | head -c 10000")
	if code != 0 || len(out) > maxOutput+10 || !strings.HasSuffix(out, "…\n") {
		t.Errorf("code %d, %d bytes of output", code, len(out))
	}
	if code, _ = execute(t.Context(), "sleep 5 & exit 4"); code != 4 {
		t.Errorf("code %d while something goes on", code)
	}
}

func TestAMemberThatTakesNothingHoldsUpNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.serve(&server{})
		slow := &proxy{target: s, up: func(l *leg, f ws.Frame) []ws.Frame { return []ws.Frame{f} }}
		cfg := w.small(s)
		cfg.URLs = append(cfg.URLs, w.bend(slow))
		cfg.Size, cfg.For, cfg.Rate = 20_000, 5*time.Second, 600
		got := w.during(cfg, time.Second, func() {
			w.net.Cut("127.0.0.1", "10.0.0.2")
			time.Sleep(2 * time.Second)
			w.net.Heal("127.0.0.1", "10.0.0.2")
		})
		faults(t, got, Counts{})
		if got.Acked != 1000 || got.Unsent != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestReportForPeople(t *testing.T) {
	r := sample()
	var text, page bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", text.String())
	golden(t, "report.html", page.String())
	for _, bad := range []string{"<script", "http:", "https:", "url(", "@import", "<b>bold"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page has %s in it", bad)
		}
	}
}

// sample is a report with something in every part.
func sample() *Report {
	r := &Report{
		URLs: []string{"ws://127.0.0.1:8000/ws", "ws://127.0.0.1:8010/ws"}, RoomCount: 100, MemberCount: 5, Rate: 2000, Size: 128,
		Reconnect: true, Seconds: 3, Conns: 499, NotOpened: 1, DialErrors: 3, FirstError: "connect ws://127.0.0.1:8000/ws: refused",
		Away: 1, Published: 1200, Delivered: 5990, Acked: 1198, Unsent: 3, Excused: 2, PerSecond: 1996, P50: 0.21, P99: 1.9, P999: 12.3, Max: 412.1,
		Counts: Counts{Lost: 2, Altered: 1, Closed: 251, Unplaced: 4, Reconnects: 250, ResumedWhole: 249, ResumedGap: 1, Gaps: 1,
			BackP50: 101.5, BackP99: 203, BackMax: 212, PauseP50: 1.1, PauseP99: 410, PauseMax: 412.1, Rooms: 100},
		Closes: []Close{{0, "connection reset", 250}, {4008, "slow", 1}},
		Events: []Event{
			{Name: "before", Counts: Counts{PauseP50: 0.9, PauseP99: 1.5, PauseMax: 2, Rooms: 100}},
			{Name: "kill -9 123 # <b>bold</b> and a text that is much too long", At: 1, Command: true, ExitCode: 1, Took: 0.01, Output: "no such\nprocess\n",
				Counts: Counts{Lost: 2, Closed: 251, Unplaced: 4, Reconnects: 250, ResumedWhole: 249, ResumedGap: 1, Gaps: 1, BackP50: 101.5, BackMax: 212,
					PauseP50: 1.1, PauseP99: 410, PauseMax: 412.1, Rooms: 100}},
			{Name: "healed", At: 2.9, Counts: Counts{Altered: 1, PauseP50: 1.2, PauseP99: 2.5, PauseMax: 3, Rooms: 99}},
		},
		Examples: []Example{{Kind: "lost", Text: "lost: message 7 of publisher 2#2 in verify-1-0 at 0000000000001.12, member 3, 1.200 s"}},
	}
	for i := range 40 {
		p := Point{At: float64(i) / 10, PerSecond: 2000, P50: 0.2, P99: 1, Max: 2}
		if i > 10 && i < 15 {
			p = Point{At: p.At}
		}
		r.Timeline = append(r.Timeline, p)
	}
	r.For, r.MaxPause, r.TooLong, r.Taken = 5, 200, 1, 6
	r.Events[1].TooLong, r.Events[1].Taken = 1, 6
	r.Broken = r.broken(Allow{})
	r.Verdict = r.verdict()
	return r
}
