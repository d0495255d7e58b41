package interop

import (
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		a := lib.join(t, 0, room, "num=1")
		first := a.line()
		if first.offset != 0 || first.ending != "" {
			t.Errorf("first line of a new room: %+v, want offset 0", first)
		}
		messages := []message{text("one"), binary("two"), text(""), binary(""), text("5 five"), binary("\x00\x00")}
		for i, m := range messages {
			a.say(m)
			a.want(numbered(i+1, m))
		}
		for i := range 2 { // live, from the present on
			late := lib.join(t, i, room, "num=1")
			if got, want := late.line(), (position{first.epoch, len(messages), ""}); got != want {
				t.Errorf("late line: %+v, want %+v", got, want)
			}
		}
	})
}

// room300 is a room with 300 messages, the first line of its publisher and what it said.
func room300(t *testing.T, lib library) (room string, c *conn, line position, messages []message) {
	t.Helper()
	room = newRoom(t)
	c = lib.join(t, 0, room, "num=1")
	line = c.line()
	messages = counting("kept", 300)
	for i, m := range messages {
		c.say(m)
		c.want(numbered(i+1, m))
	}
	return room, c, line, messages
}

// wantFrom hears all of messages but the first n, with their numbers.
func (c *conn) wantFrom(n int, messages []message) {
	c.t.Helper()
	for i, m := range messages[n:] {
		c.want(numbered(n+i+1, m))
	}
}

func TestResumeWhole(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		leaver, stayer := lib.join(t, 0, room, "num=1"), lib.join(t, 1, room, "echo=0")
		at := leaver.line()
		messages := counting("over a reconnect", 400)
		for _, m := range messages[:100] {
			stayer.say(m)
		}
		leaver.wantFrom(0, messages[:100])
		for round, router := range []int{0, 1, 1} { // the same router or another
			n := 100 * (round + 1)
			at.offset = n
			leaver.leave(1000, "")
			for _, m := range messages[n : n+100] {
				stayer.say(m)
			}
			leaver = lib.join(t, router, room, at.since())
			if got := leaver.line(); got != at {
				t.Fatalf("resume at %+v: line %+v", at, got)
			}
			leaver.wantFrom(n, messages[:n+100])
		}
		leaver.say(text("live again"))
		leaver.want(text("401 live again"))
		stayer.want(text("live again"))
	})
}

func TestResumeAnywhere(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room, _, line, messages := room300(t, lib)
		for i, offset := range []int{0, 1, 150, 299, 300} {
			line.offset = offset
			c := lib.join(t, i%2, room, line.since()+"&echo=0")
			if got := c.line(); got != line {
				t.Errorf("resume at %+v: line %+v", line, got)
			}
			c.wantFrom(offset, messages)
		}
	})
}

func TestSinceZeroIsAllThatIsKept(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room, _, line, messages := room300(t, lib)
		for i := range 2 {
			c := lib.join(t, i, room, "since=0")
			if got := c.line(); got != line {
				t.Errorf("line %+v, want %+v", got, line)
			}
			c.wantFrom(0, messages)
		}
		empty := lib.join(t, 0, newRoom(t), "since=0")
		if got := empty.line(); got.offset != 0 || got.ending != "" {
			t.Errorf("line of an empty room: %+v", got)
		}
	})
}

func TestForeignEpochIsReset(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room, live, line, messages := room300(t, lib)
		line.ending = " reset"
		for i, since := range []string{"since=zzzzzzzzzzzzz.0", "since=0123456789abc.7", "since=zzzzzzzzzzzzz.999999"} {
			c := lib.join(t, i%2, room, since)
			if got := c.line(); got != line {
				t.Errorf("%s: line %+v, want %+v", since, got, line)
			}
			c.wantFrom(0, messages)
		}
		live.say(text("next"))
		live.want(text("301 next"))
	})
}

// A room keeps 8 MiB of the last seconds; who asks for more hears of a gap.
func TestHistoryDoesNotReach(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		c := lib.join(t, 0, room, "num=1")
		at := c.line()
		const n = 160
		m := binary(strings.Repeat("x", 64<<10))
		for i := range n {
			c.say(m)
			c.want(numbered(i+1, m))
		}
		for i, ending := range []string{" gap", ""} {
			since := at.since()
			if ending == "" {
				since = "since=0"
			}
			late := lib.join(t, i, room, since)
			got := late.line()
			if got.epoch != at.epoch || got.ending != ending || got.offset == 0 || got.offset >= n {
				t.Fatalf("%s: line %+v", since, got)
			}
			for offset := got.offset + 1; offset <= n; offset++ {
				late.want(numbered(offset, m))
			}
			late.say(text("here"))
			for said := range i + 1 { // by those before, too
				late.want(numbered(n+1+said, text("here")))
			}
		}
	})
}
