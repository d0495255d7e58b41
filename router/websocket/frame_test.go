package websocket_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/roomring/roomring/router/websocket"
)

// TestFramesAsGobwasReadsThem also compares the bytes: there is one right way.
func TestFramesAsGobwasReadsThem(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000} {
		payload := strings.Repeat("x", n)
		for op, theirs := range map[websocket.Opcode]ws.Frame{
			websocket.OpText:   ws.NewTextFrame([]byte(payload)),
			websocket.OpBinary: ws.NewBinaryFrame([]byte(payload)),
		} {
			want := ws.MustCompileFrame(theirs)
			got := websocket.AppendFrame([]byte("!"), op, payload)
			if !bytes.Equal(got[1:], want) {
				t.Errorf("opcode %d, %d bytes: %d bytes that begin with %x, want %d with %x", op, n, len(got)-1, got[1:3], len(want), want[:2])
			}
			if header := websocket.AppendHeader(nil, op, n); !bytes.Equal(header, want[:len(want)-n]) {
				t.Errorf("opcode %d, %d bytes: header %x, want %x", op, n, header, want[:len(want)-n])
			}
		}
	}
	if !bytes.Equal([]byte(websocket.Ping), ws.CompiledPing) {
		t.Errorf("ping is %x, want %x", websocket.Ping, ws.CompiledPing)
	}
	if got := websocket.AppendFrame(nil, websocket.OpPong, []byte("hi")); !bytes.Equal(got, ws.MustCompileFrame(ws.NewPongFrame([]byte("hi")))) {
		t.Errorf("pong is %x", got)
	}
}

func TestClose(t *testing.T) {
	for _, c := range []struct {
		code   uint16
		reason string
		want   string
	}{
		{1000, "", ""},
		{1008, "too many fragments", "too many fragments"},
		{1013, strings.Repeat("x", 123), strings.Repeat("x", 123)},
		{1013, strings.Repeat("x", 124), strings.Repeat("x", 123)},
		{1013, strings.Repeat("x", 122) + "é", strings.Repeat("x", 122)},
		{1013, strings.Repeat("x", 120) + "😀", strings.Repeat("x", 120)},
		{4008, strings.Repeat("é", 100), strings.Repeat("é", 61)},
		{4008, "a\xffb", "a\uFFFDb"},
	} {
		b := websocket.AppendClose(nil, c.code, c.reason)
		r := bytes.NewReader(b)
		h, err := ws.ReadHeader(r)
		if err != nil || ws.CheckHeader(h, ws.StateClientSide) != nil || h.Length != int64(r.Len()) {
			t.Fatalf("%d %q: %x: %v", c.code, c.reason, b, err)
		}
		code, reason := ws.ParseCloseFrameData(b[len(b)-r.Len():])
		if uint16(code) != c.code || reason != c.want || !utf8.ValidString(reason) {
			t.Errorf("%d %q: got %d %q", c.code, c.reason, code, reason)
		}
	}
	if got := websocket.AppendClose(nil, websocket.CloseNoCode, "ignored"); !bytes.Equal(got, []byte{0x88, 0}) {
		t.Errorf("no code: %x", got)
	}
}
