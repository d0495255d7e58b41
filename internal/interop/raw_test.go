package interop

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestKindsStay(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		a, b := lib.join(t, 0, room, ""), lib.join(t, 1, room, "")
		messages := []message{
			text("hello"), binary("hello"), text(""), binary(""),
			binary("\xff\xfe\x00 is no UTF-8"), text("a NUL \x00 is text"),
			text("!looks like a line"), text("7 looks numbered"),
		}
		for _, m := range messages {
			a.say(m)
			a.want(m)
			b.want(m)
		}
		lib.join(t, 0, newRoom(t), "").alive() // and does not hear the other room
	})
}

func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		quiet, other := lib.join(t, 0, room, "echo=0"), lib.join(t, 0, room, "echo=1")
		numbers := lib.join(t, 0, room, "echo=0&num=1")
		numbers.line()
		quiet.say(text("from quiet"))
		other.want(text("from quiet"))
		numbers.want(text("1 from quiet"))
		numbers.say(text("from numbers"))
		other.want(text("from numbers"))
		other.say(text("from other"))
		other.want(text("from other"))
		quiet.want(text("from numbers"), text("from other"))
		numbers.want(text("3 from other"))
	})
}

func TestSizes(t *testing.T) {
	const most = 64 << 10
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		witness := lib.join(t, 1, room, "")
		for _, size := range []int{1, 125, 126, 127, 65535, most} {
			c := lib.join(t, 0, room, "")
			for _, m := range []message{text(strings.Repeat("x", size)), binary(strings.Repeat("\xff", size))} {
				c.say(m)
				c.want(m)
				witness.want(m)
			}
		}
		for _, m := range []message{text(strings.Repeat("x", most+1)), binary(strings.Repeat("x", most+1))} {
			c := lib.join(t, 0, room, "")
			c.say(text("before"))
			c.want(text("before"))
			c.say(m)
			if got := c.wantClose(1009); got.reason == "" {
				t.Error("close 1009 has no reason")
			}
		}
		witness.want(text("before"), text("before"))
		witness.alive()
	})
}

func TestFragments(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		witness := lib.join(t, 1, room, "")
		messages := []message{
			text("in pieces of three"),
			binary("\x00\xff in pieces of three"),
			text("зеркало 鏡 🪞 cut inside runes"),
			text("ab"), // one piece
		}
		c := lib.joinWith(t, address(0, room, ""), options{fragment: 3})
		for _, m := range messages {
			c.say(m)
		}
		c.want(messages...)
		witness.want(messages...)

		large := lib.joinWith(t, address(0, room, ""), options{fragment: 4 << 10})
		m := binary(strings.Repeat("0123456789abcdef", 4<<10))
		large.say(m)
		large.want(m)
		witness.want(m)

		many := lib.joinWith(t, address(0, room, ""), options{fragment: 1})
		many.say(text(strings.Repeat("x", 120)))
		many.want(text(strings.Repeat("x", 120)))
		witness.want(text(strings.Repeat("x", 120)))
		many.write(text(strings.Repeat("x", 200))) // may be closed half way
		many.wantClose(1008)
		witness.alive()
	})
}

func TestPing(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		c := lib.join(t, 0, newRoom(t), "num=1")
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if err := c.ping(ctx); err != nil {
				t.Fatalf("ping: %v", err)
			}
			cancel()
		}
		c.line() // nothing of it was a message
		c.say(text("after"))
		c.want(text("1 after"))
	})
}

func TestCloseIsEchoed(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		witness := lib.join(t, 1, room, "")
		for _, code := range []int{1000, 1001, 1003, 1007, 1011, 1012, 1013, 3000, 4000, 4999, 1005} {
			c := lib.join(t, 0, room, "echo=0")
			reason := "até logo"
			if code == 1005 { // stands for a close frame without a code
				reason = ""
			}
			c.say(text("last words"))
			c.leave(code, reason)
			witness.want(text("last words"))
		}
	})
}

func TestBadTextCloses(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		witness := lib.join(t, 1, room, "")
		for _, o := range []options{{}, {fragment: 1}} {
			c := lib.joinWith(t, address(0, room, ""), o)
			c.write(text("no UTF-8: \xff here"))
			c.wantClose(1007)
		}
		witness.alive()
	})
}

func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		own := "http://" + routers[0]
		good := address(0, newRoom(t), "")
		lib.joinWith(t, good, options{origin: own}).alive()
		for _, c := range []struct {
			url    string
			o      options
			status int
			code   string
		}{
			{good, options{subprotocols: []string{"chat"}}, http.StatusBadRequest, "bad_subprotocol"},
			{good, options{subprotocols: []string{"chat", "superchat"}}, http.StatusBadRequest, "bad_subprotocol"},
			{good, options{origin: "http://example.com"}, http.StatusForbidden, "forbidden_origin"},
			{good + "&num=2", options{}, http.StatusBadRequest, "bad_request"},
			{good + "&since=1", options{}, http.StatusBadRequest, "bad_since"},
			{good + "&room=again", options{}, http.StatusBadRequest, "bad_room"},
			{address(0, "", ""), options{}, http.StatusBadRequest, "bad_room"},
			{address(0, strings.Repeat("x", 256), ""), options{}, http.StatusBadRequest, "bad_room"},
			{"ws://" + routers[0] + "/other?room=r", options{}, http.StatusNotFound, "not_found"},
		} {
			if got := lib.refused(t, c.url, c.o, c.status); got != c.code {
				t.Errorf("%s with %+v: error %q, want %q", c.url, c.o, got, c.code)
			}
		}
	})
}

// An offer of permessage-deflate is declined, which joinWith looks at. What the
// library would have compressed goes as it is.
func TestCompressionIsDeclined(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		a := lib.joinWith(t, address(0, room, ""), options{deflate: true})
		b := lib.joinWith(t, address(1, room, ""), options{deflate: true, fragment: 100})
		for _, m := range []message{text("short"), text(strings.Repeat("easy to deflate ", 500)), binary(strings.Repeat("\x00", 5000))} {
			a.say(m)
			a.want(m)
			b.want(m)
			b.say(m)
			a.want(m)
			b.want(m)
		}
	})
}

func TestUnicode(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t) + " комната 部屋 🏠 + & = % ? # / \u202e"
		a, b := lib.join(t, 0, room, "num=1"), lib.join(t, 1, room, "")
		a.line()
		for i, m := range []message{
			text("żółć"), text("👩‍👩‍👧‍👦 is one family of seven runes"), text("שלום عالم"), text("\ufeffa BOM stays"),
			text("\U0010ffff is the last, \ue000 private, \ufffd replaces"), text("e\u0301 is not é"), text("line\r\nend\u2028\u2029"),
			text(strings.Repeat("🪞", 16<<10)), // 64 KiB of four-byte runes
		} {
			b.say(m)
			b.want(m)
			a.want(numbered(i+1, m))
		}
	})
}

// TestPipeline sends far more than a conn may have unacknowledged, without
// waiting for anything.
func TestPipeline(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		room := newRoom(t)
		a, b := lib.join(t, 0, room, ""), lib.join(t, 1, room, "num=1")
		messages := counting("pipelined", 3000)
		sent := make(chan error, 1)
		go func() {
			for _, m := range messages {
				if err := a.write(m); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		b.line()
		for i, m := range messages {
			a.want(m)
			b.want(numbered(i+1, m))
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}
