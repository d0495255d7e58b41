package router

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/rfc6455"
)

// figures are the counters of all lanes that operators are shown.
type figures struct {
	open                          int
	messages, deliveries, in, out uint64
}

func (d *desk) figures() (f figures) {
	d.t.Helper()
	stats, err := d.r.Stats(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range stats {
		c := &stats[i].Conns
		f.open += c.Open
		f.messages += c.Messages + c.Posts
		f.deliveries += stats[i].Hub.Deliveries
		f.in += c.Bytes
		f.out += c.BytesOut
	}
	return f
}

// heard is how many bytes a client was sent within a second.
func (d *desk) heard(c net.Conn) (n uint64) {
	d.t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Second))
	b, _ := io.ReadAll(c)
	return uint64(len(b))
}

// Operators are shown what clients see: every byte, also of answers and closes,
// and every message once per member that hears it.
func TestFiguresAreWhatClientsSee(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		a, b := d.send(rfc6455.Request("/ws?room=a")), d.send(rfc6455.Request("/ws?room=a&num=1&echo=0"))
		plain := d.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		out := d.heard(a) + d.heard(b) + d.heard(plain)
		want := figures{open: 2, out: out}
		if got := d.figures(); got != want || out == 0 {
			t.Errorf("two joined: %+v, want %+v", got, want)
		}
		for _, c := range []net.Conn{a, b} {
			if _, err := c.Write(rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "hello")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // so that the post comes last
		d.want(message("a", "posted"), d.placed(3))
		want.messages, want.in, want.deliveries = 3, 5+5+6, 3+2 // b hears no echo
		want.out += d.heard(a) + d.heard(b)
		got := d.figures()
		answer := got.out - want.out
		if want.out = got.out; got != want || answer == 0 || answer > 300 {
			t.Errorf("three messages: %+v, want %+v; the answer to the post had %d bytes", got, want, answer)
		}
		a.Close()
		b.Write(rfc6455.Frame(0x83, "no such opcode"))
		want.out += d.heard(b)
		b.Close()
		synctest.Wait()
		want.open = 0
		if got := d.figures(); got != want {
			t.Errorf("both are gone: %+v, want %+v", got, want)
		}
		plain.Close()
	})
}
