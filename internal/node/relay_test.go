package node

import (
	"bytes"
	"testing"

	"github.com/roomring/roomring/proto"
)

// What a question that is handed on was made of is what comes out, and nothing else is taken for one.
func FuzzRelayed(f *testing.F) {
	f.Add(appendRelayed(nil, "s1/0000000000001", askTail, []byte(`{"room":"a"}`)))
	f.Add([]byte{askFigures, 200, 's'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		to, kind, body, ok := parseRelayed(b)
		if ok && !bytes.Equal(appendRelayed(nil, to, kind, body), b) {
			t.Errorf("%x is to %q, kind %d, body %x", b, to, kind, body)
		}
	})
}

// Questions that make no sense, or are of a later build, are answered so.
func TestQuestionsThatAreNone(t *testing.T) {
	c := &control{node: &Node{name: "s1/0000000000001"}}
	for _, x := range []struct {
		kind uint8
		body string
		want uint16
	}{
		{99, "", 501},
		{0, "", 501},
		{askRooms, "", 400},
		{askRooms, `{"sort":"colour"}`, 400},
		{askTail, "{", 400},
		{askTail, `{"room":""}`, 400},
		{askTail, `{"room":"a","position":"x"}`, 400},
		{askRelay, "", 400},
		{askRelay, "\x04\xff", 400},
		{askRelay, "\x08\x10s1/0000000000001", 400}, // it is handed on once
		{askRelay, "\x63\x10s1/0000000000001", 501},
	} {
		if got := c.work(proto.Ask{Kind: x.kind, Body: []byte(x.body)}); got.Status != x.want {
			t.Errorf("kind %d, %q: %d, want %d", x.kind, x.body, got.Status, x.want)
		}
	}
}
