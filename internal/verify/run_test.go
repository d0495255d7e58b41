package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/roomring/roomring/proto"
)

func (w *world) small(url string) Config {
	return Config{URLs: []string{url}, Dial: w.dial, Rooms: 2, Members: 3, Rate: 900, For: 400 * time.Millisecond}
}

// faults compares what broke or was announced, and not how long it took.
func faults(t *testing.T, got *Report, want Counts) {
	t.Helper()
	got.Counts.BackP50, got.Counts.BackP99, got.Counts.BackMax = 0, 0, 0
	if diff := cmp.Diff(want, got.Counts, cmpopts.IgnoreFields(Counts{}, "PauseP50", "PauseP99", "PauseMax", "Rooms")); diff != "" {
		t.Errorf("counts (-want +got):\n%s%v", diff, got.Examples)
	}
}

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
	}
}

func run1(t *testing.T, cfg Config) *Report {
	t.Helper()
	got, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHonestServerHolds(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"as it is":       func(*Config) {},
		"large messages": func(c *Config) { c.Size, c.Rate = 70_000, 90 },
		"small messages": func(c *Config) { c.Size = MinSize },
		"one member":     func(c *Config) { c.Members = 1 },
		"many conns":     func(c *Config) { c.Rooms, c.Members = 30, 10 },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				cfg := w.small(w.serve(&server{}))
				change(&cfg)
				got := run1(t, cfg)
				faults(t, got, Counts{})
				if !got.Held || len(got.Broken) > 0 || got.Acked == 0 || got.Acked != got.Published || got.Delivered != got.Acked*uint64(cfg.Members) {
					t.Errorf("%+v", got)
				}
				if got.Rooms != cfg.Rooms || got.PauseP50 <= 0 || got.PauseMax < got.PauseP50 || got.P50 <= 0 || got.P50 > got.P99 {
					t.Errorf("times: %+v", got)
				}
			})
		})
	}
}

// nth bends the nth message to the member with a number in the first room, once.
func nth(number, n int, do func(l *leg, f ws.Frame, offset uint64, payload []byte) []ws.Frame) func(*leg, ws.Frame) []ws.Frame {
	room := ""
	return func(l *leg, f ws.Frame) []ws.Frame {
		offset, payload, ok := split(f)
		if !ok {
			return []ws.Frame{f}
		}
		if room == "" {
			room = l.room
		}
		l.count++
		if l.room != room || l.number != number || l.count != n {
			return []ws.Frame{f}
		}
		return do(l, f, offset, payload)
	}
}

// flip returns a payload with one letter changed.
func flip(payload []byte, at int) []byte {
	b := bytes.Clone(payload)
	if b[at]++; b[at] > 'z' {
		b[at] = 'a'
	}
	return b
}

func alteredAt(at int) func(*leg, ws.Frame, uint64, []byte) []ws.Frame {
	return func(_ *leg, f ws.Frame, offset uint64, payload []byte) []ws.Frame {
		return []ws.Frame{numbered(f.Header.OpCode, offset, flip(payload, at))}
	}
}

func TestFaultyProxyIsFound(t *testing.T) {
	var earlier []byte
	tests := []struct {
		name     string
		down, up func(*leg, ws.Frame) []ws.Frame
		want     Counts
	}{
		{"drops to a member", nth(1, 20, func(*leg, ws.Frame, uint64, []byte) []ws.Frame { return nil }), nil, Counts{Lost: 1}},
		{"drops the last to a member", cut(1, 20), nil, Counts{Lost: lostAfter}},
		{"drops from a publisher", nil, upTo(1, 7, func(*leg, ws.Frame) []ws.Frame { return nil }), Counts{Lost: 1}},
		{"repeats to a member", nth(1, 20, func(_ *leg, f ws.Frame, _ uint64, _ []byte) []ws.Frame { return []ws.Frame{f, f} }), nil, Counts{Doubled: 1}},
		{"repeats from a publisher", nil, upTo(1, 7, func(_ *leg, f ws.Frame) []ws.Frame { return []ws.Frame{f, f} }), Counts{Doubled: 1}},
		{"swaps two to a member", swap(1, 20), nil, Counts{Reordered: 1}},
		{"swaps two of a publisher", nil, swapUp(1, 7), Counts{Reordered: 1}},
		{"alters the mark", nth(1, 20, alteredAt(0)), nil, Counts{Altered: 1}},
		{"alters the stamp", nth(1, 20, alteredAt(9)), nil, Counts{Altered: 1}},
		{"alters the checksum", nth(1, 20, alteredAt(headBytes-2)), nil, Counts{Altered: 1}},
		{"alters the end", nth(1, 20, alteredAt(127)), nil, Counts{Altered: 1}},
		{"cuts the end off", nth(1, 20, func(_ *leg, f ws.Frame, offset uint64, payload []byte) []ws.Frame {
			return []ws.Frame{numbered(f.Header.OpCode, offset, payload[:100])}
		}), nil, Counts{Altered: 1}},
		{"makes binary of text", nth(1, 20, func(_ *leg, f ws.Frame, offset uint64, payload []byte) []ws.Frame {
			return []ws.Frame{numbered(ws.OpText^ws.OpBinary^f.Header.OpCode, offset, payload)}
		}), nil, Counts{Altered: 1}},
		{"alters what a publisher sends", nil, upTo(1, 7, func(_ *leg, f ws.Frame) []ws.Frame {
			return []ws.Frame{frameOf(f, flip(f.Payload, 60))}
		}), Counts{Altered: 1}},
		{"gives an offset another content", func(l *leg, f ws.Frame) []ws.Frame {
			return nth1(l, f, &earlier)
		}, nil, Counts{Conflicts: 1, Disagree: 1}},
		{"skips three without a gap", func(l *leg, f ws.Frame) []ws.Frame {
			if _, _, ok := split(f); ok && l.number == 1 && first(l) {
				if l.count++; l.count >= 20 && l.count < 23 {
					return nil
				}
			}
			return []ws.Frame{f}
		}, nil, Counts{Lost: 3}},
		{"invents one for a member", nth(1, 20, func(_ *leg, f ws.Frame, offset uint64, payload []byte) []ws.Frame {
			return []ws.Frame{numbered(ws.OpText, offset, []byte("nobody said this")), f}
		}), nil, Counts{Invented: 1}},
		{"invents one from a publisher", nil, upTo(1, 7, func(_ *leg, f ws.Frame) []ws.Frame {
			return []ws.Frame{f, ws.NewTextFrame([]byte("nobody said this"))}
		}), Counts{Invented: 1}},
		{"sends a number that is none", nth(1, 20, func(_ *leg, f ws.Frame, _ uint64, payload []byte) []ws.Frame {
			return []ws.Frame{ws.NewTextFrame([]byte("007 bond")), f}
		}), nil, Counts{Malformed: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				got := run1(t, w.small(w.bend(&proxy{target: w.serve(&server{}), down: test.down, up: test.up})))
				if test.want.Lost == lostAfter { // all after the twentieth: it must be what the others got
					if got.Lost != 40 || got.Acked != 120 {
						t.Errorf("lost %d of %d", got.Lost, got.Acked)
					}
					test.want.Lost = got.Lost
				}
				faults(t, got, test.want)
				if got.Held || len(got.Broken) == 0 || len(got.Examples) == 0 {
					t.Errorf("a faulty server holds: %+v", got)
				}
			})
		})
	}
}

const lostAfter = 1 << 60

// first tells whether a leg is of the room that a test bends.
func first(l *leg) bool { return l.room[len(l.room)-2:] == "-0" }

// cut drops everything to a member from its nth message on.
func cut(number, n int) func(*leg, ws.Frame) []ws.Frame {
	return func(l *leg, f ws.Frame) []ws.Frame {
		if _, _, ok := split(f); !ok || l.number != number || !first(l) {
			return []ws.Frame{f}
		}
		if l.count++; l.count > n {
			return nil
		}
		return []ws.Frame{f}
	}
}

// upTo bends the nth message from the member with a number in the first room.
func upTo(number, n int, do func(*leg, ws.Frame) []ws.Frame) func(*leg, ws.Frame) []ws.Frame {
	return func(l *leg, f ws.Frame) []ws.Frame {
		if l.count++; l.number == number && first(l) && l.count == n {
			return do(l, f)
		}
		return []ws.Frame{f}
	}
}

func swap(number, n int) func(*leg, ws.Frame) []ws.Frame {
	return func(l *leg, f ws.Frame) []ws.Frame {
		if _, _, ok := split(f); !ok || l.number != number || !first(l) {
			return []ws.Frame{f}
		}
		return l.swap(n, f)
	}
}

func swapUp(number, n int) func(*leg, ws.Frame) []ws.Frame {
	return func(l *leg, f ws.Frame) []ws.Frame {
		if l.number != number || !first(l) {
			return []ws.Frame{f}
		}
		return l.swap(n, f)
	}
}

// swap holds the nth frame back until the next one has passed.
func (l *leg) swap(n int, f ws.Frame) []ws.Frame {
	l.count++
	switch l.count {
	case n:
		l.held = []ws.Frame{f}
		return nil
	case n + 1:
		return []ws.Frame{f, l.held[0]}
	}
	return []ws.Frame{f}
}

// nth1 gives the twentieth message to member 1 of the first room the content of the one before.
func nth1(l *leg, f ws.Frame, earlier *[]byte) []ws.Frame {
	offset, payload, ok := split(f)
	if !ok || l.number != 1 || !first(l) {
		return []ws.Frame{f}
	}
	l.count++
	switch {
	case f.Header.OpCode == ws.OpText && l.count < 20:
		*earlier = bytes.Clone(payload)
	case f.Header.OpCode == ws.OpText && l.held == nil:
		l.held = []ws.Frame{f}
		return []ws.Frame{numbered(ws.OpText, offset, *earlier)}
	}
	return []ws.Frame{f}
}

func TestFaultyServerIsFound(t *testing.T) {
	tests := []struct {
		name string
		bend func(r *served, m entry) []entry
		want Counts
	}{
		{"two offsets for one message", func(r *served, m entry) []entry {
			if r.name[len(r.name)-2:] == "-0" && r.count == 9 {
				return []entry{m, m}
			}
			return []entry{m}
		}, Counts{Doubled: 1}},
		{"one message again, much later", func(r *served, m entry) []entry {
			if r.name[len(r.name)-2:] == "-0" && r.count == 9 {
				r.held = []entry{m}
			}
			if r.name[len(r.name)-2:] == "-0" && r.count == 40 {
				return []entry{m, r.held[0]}
			}
			return []entry{m}
		}, Counts{Doubled: 1}},
		{"an offset that nobody hears", func(r *served, m entry) []entry {
			if r.name[len(r.name)-2:] == "-0" && r.count == 9 {
				return []entry{{}, m}
			}
			return []entry{m}
		}, Counts{Lost: 1}},
		{"a message that has an offset and is not sent", func(r *served, m entry) []entry {
			if r.name[len(r.name)-2:] == "-0" && r.count == 9 {
				return []entry{{}}
			}
			return []entry{m}
		}, Counts{Lost: 1}},
		{"a message of another room", func(r *served, m entry) []entry {
			if r.name[len(r.name)-2:] == "-0" && r.count == 9 {
				s := stamp{room: 1, member: 0, seq: 1, at: 5}
				return []entry{m, {ws.OpText, codec{codecRun(m.payload), 128}.append(nil, s, false)}}
			}
			return []entry{m}
		}, Counts{Invented: 1}},
		{"a message that nobody has sent yet", func(r *served, m entry) []entry {
			if r.name[len(r.name)-2:] == "-0" && r.count == 9 {
				s := stamp{room: 0, member: 0, seq: 1000, at: 5}
				return []entry{m, {ws.OpText, codec{codecRun(m.payload), 128}.append(nil, s, false)}}
			}
			return []entry{m}
		}, Counts{Invented: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				got := run1(t, w.small(w.serve(&server{append: test.bend})))
				faults(t, got, test.want)
				if got.Held {
					t.Error("a faulty server holds")
				}
			})
		})
	}
}

// codecRun reads the number of the run out of a payload.
func codecRun(payload []byte) uint32 {
	raw, err := base64.RawStdEncoding.DecodeString(string(payload[len(mark):headBytes]))
	if err != nil {
		panic(err)
	}
	return binary.BigEndian.Uint32(raw)
}

// closeOnce closes the conn of member 1 in the first room with its nth message, with a code or without.
func closeOnce(n int, code ws.StatusCode, reason string) func(*leg, ws.Frame) []ws.Frame {
	done := false
	return func(l *leg, f ws.Frame) []ws.Frame {
		if _, _, ok := split(f); !ok || l.number != 1 || !first(l) || done {
			return []ws.Frame{f}
		}
		if l.count++; l.count < n {
			return []ws.Frame{f}
		}
		done = true
		if code != 0 {
			ws.WriteFrame(l.client, ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason)))
		}
		l.end()
		return nil
	}
}

func TestSocketsThatClose(t *testing.T) {
	tests := []struct {
		name  string
		code  ws.StatusCode
		back  bool
		allow Allow
		keep  uint64
		turn  func(*served, proto.Position) proto.Position
		want  Counts
		held  bool
	}{
		{"closed", 4008, false, Allow{}, 0, nil, Counts{Closed: 1}, false},
		{"closed, allowed", 4008, false, Allow{Closed: true}, 0, nil, Counts{Closed: 1}, true},
		{"broken", 0, false, Allow{}, 0, nil, Counts{Closed: 1}, false},
		{"going away", 1012, false, Allow{}, 0, nil, Counts{Closed: 1}, true},
		{"never come back", 4500, true, Allow{}, 0, nil, Counts{Closed: 1}, false},
		{"back whole", 4008, true, Allow{}, 0, nil, Counts{Closed: 1, Reconnects: 1, ResumedWhole: 1}, true},
		{"back without a word", 0, true, Allow{}, 0, nil, Counts{Closed: 1, Reconnects: 1, ResumedWhole: 1}, true},
		{"back with a gap", 4008, true, Allow{}, 1, nil, Counts{Closed: 1, Reconnects: 1, ResumedGap: 1, Gaps: 1}, false},
		{"back with a gap, allowed", 4008, true, Allow{Gaps: true}, 1, nil, Counts{Closed: 1, Reconnects: 1, ResumedGap: 1, Gaps: 1}, true},
		{"back with a wrong claim", 4008, true, Allow{}, 0, func(_ *served, p proto.Position) proto.Position {
			p.Offset += 2
			return p
		}, Counts{Closed: 1, Reconnects: 1, ResumedWhole: 1, Lost: 2}, false},
		{"back and told again", 4008, true, Allow{}, 0, func(_ *served, p proto.Position) proto.Position {
			p.Offset -= 2
			return p
		}, Counts{Closed: 1, Reconnects: 1, ResumedWhole: 1, Doubled: 2}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				cfg := w.small(w.bend(&proxy{target: w.serve(&server{keep: test.keep, resume: test.turn}), down: closeOnce(10, test.code, "so it is")}))
				cfg.Reconnect, cfg.Allow = test.back, test.allow
				got := run1(t, cfg)
				if took := got.Taken; took > 0 != (got.Gaps > 0) {
					t.Errorf("%d taken by %d gaps", took, got.Gaps)
				}
				got.Unplaced, got.Taken = 0, 0 // chance
				faults(t, got, test.want)
				if got.Held != test.held {
					t.Errorf("held is %v: %s", got.Held, got.Verdict)
				}
				if len(got.Closes) != 1 || got.Closes[0].Code != int(test.code) || test.code != 0 && got.Closes[0].Reason != "so it is" {
					t.Errorf("closes: %+v", got.Closes)
				}
			})
		})
	}
}
