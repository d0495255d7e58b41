package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// end is one end of a simulated link: a flow, what it sent, what it heard.
type end struct {
	flow
	sentData, sentControl int    // frames of each class, numbered
	gotData, gotControl   int    // the same at the receiver
	wire                  []byte // written, not yet arrived at the other end
	rest                  []byte // arrived, half a frame
	fault                 error
}

// Numbered frames: data as Deliver, control as Table.
func (e *end) frame(t proto.FrameType, body []byte) (bool, error) {
	n := int(binary.BigEndian.Uint32(body))
	switch {
	case t.Data() && n != e.gotData, !t.Data() && n != e.gotControl:
		e.fault = errors.New("out of order or lost")
	case t.Data():
		e.gotData++
	default:
		e.gotControl++
	}
	return true, e.fault
}

func appendNumbered(b []byte, t proto.FrameType, n, size int) []byte {
	b, start := proto.Begin(b, t)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return proto.End(append(b, make([]byte, size)...), start)
}

func (e *end) data(size int) {
	e.putData(func(b []byte) []byte { return appendNumbered(b, proto.FrameDeliver, e.sentData, size) })
	e.sentData++
}

func (e *end) ctl(size int) {
	e.putControl(func(b []byte) []byte { return appendNumbered(b, proto.FrameTable, e.sentControl, size) })
	e.sentControl++
}

// flush writes up to n bytes and reports how many it did.
func (e *end) flush(n int) (took int) {
	e.repay()
	for took < n {
		b := e.next()
		if len(b) == 0 {
			return took
		}
		w := min(len(b), n-took)
		e.wire = append(e.wire, b[:w]...)
		e.wrote(w)
		took += w
	}
	return took
}

// arrive moves up to n bytes to the other end.
func (e *end) arrive(to *end, n int) error {
	n = min(n, len(e.wire))
	to.rest = append(to.rest, e.wire[:n]...)
	e.wire = e.wire[n:]
	used, err := to.receive(to.rest, to)
	to.rest = append([]byte(nil), to.rest[used:]...)
	return err
}

// TestCredit: under any mix of sizes, partial writes and split reads, credit is
// never exceeded (receive would say so), nothing is lost or passed within its
// class, and both sides come to rest with everything delivered.
func TestCredit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := &end{flow: newFlow()}, &end{flow: newFlow()}
		ends := [2]*end{a, b}
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, proto.MaxFrame-proto.HeaderSize-4))
		step := func(from, to *end) {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				for from.space() > 0 {
					from.data(size.Draw(t, "data"))
				}
			case 2:
				from.ctl(rapid.IntRange(0, 2000).Draw(t, "control"))
			case 3:
				from.flush(rapid.IntRange(1, 3<<20).Draw(t, "write"))
			case 4:
				if err := from.arrive(to, rapid.IntRange(1, 3<<20).Draw(t, "read")); err != nil {
					t.Fatalf("receive: %v", err)
				}
			}
			if from.waitingData() > HighWater+proto.MaxFrame {
				t.Fatalf("%d bytes of data wait", from.waitingData())
			}
		}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "side")
			step(ends[i], ends[1-i])
		}
		// Whatever state that was: with everybody reading it ends, and both can
		// send more than a window again.
		settle := func() {
			for moved := true; moved; {
				moved = a.flush(1<<30)+b.flush(1<<30) > 0
				for i := range ends {
					if err := ends[i].arrive(ends[1-i], 1<<30); err != nil {
						t.Fatalf("receive: %v", err)
					}
				}
			}
		}
		settle()
		for sent := 0; sent < Window+1<<19; sent += 1 << 19 {
			for _, e := range ends {
				if e.space() == 0 {
					t.Fatal("no space on a link at rest")
				}
				e.data(1 << 19)
			}
			settle()
		}
		for i, e := range ends {
			o := ends[1-i]
			if !e.idle() || len(e.wire) > 0 || e.sentData != o.gotData || e.sentControl != o.gotControl {
				t.Fatalf("stuck: idle %v, data %d of %d, control %d of %d", e.idle(), o.gotData, e.sentData, o.gotControl, e.sentControl)
			}
			if e.space() < HighWater {
				t.Fatalf("space %d after everything was returned", e.space())
			}
			// What is shown of credit is what the two sides did with it.
			if e.n.used > e.n.granted || e.n.granted != Window+o.n.returned || e.n.granted-e.n.used != Window-(o.received-o.returned) {
				t.Fatalf("granted %d, used %d, returned by the other side %d", e.n.granted, e.n.used, o.n.returned)
			}
		}
	})
}

func (e *end) waitingData() int { return e.flow.data.len() }

// TestControlOvertakes: control goes before data that waits, but not into a
// frame that was begun.
func TestControlOvertakes(t *testing.T) {
	a, b := &end{flow: newFlow()}, &end{flow: newFlow()}
	for range 3 {
		a.data(50_000)
	}
	a.flush(1000)
	a.ctl(0)
	a.flush(1 << 30)
	var order []proto.FrameType
	for w := a.wire; len(w) > 0; {
		typ, size, err := proto.ParseHeader(w)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, typ)
		w = w[size:]
	}
	want := []proto.FrameType{proto.FrameDeliver, proto.FrameTable, proto.FrameDeliver, proto.FrameDeliver}
	if len(order) != len(want) || order[0] != want[0] || order[1] != want[1] {
		t.Errorf("order %v, want %v", order, want)
	}
	if err := a.arrive(b, 1<<30); err != nil || b.gotData != 3 || b.gotControl != 1 {
		t.Errorf("got %d and %d: %v", b.gotData, b.gotControl, err)
	}
}

// TestOneWrite: a little data goes out together with control.
func TestOneWrite(t *testing.T) {
	a := &end{flow: newFlow()}
	a.ctl(10)
	a.data(1000)
	if n := len(a.next()); n != 2*proto.HeaderSize+8+1010 {
		t.Errorf("one write has %d bytes", n)
	}
}

// TestStall: without credit nothing is begun, control still goes, and the stall
// is counted once.
func TestStall(t *testing.T) {
	a, b := &end{flow: newFlow()}, &end{flow: newFlow()}
	frames := 0
	for range 100 {
		for a.space() > 0 {
			a.data(100_000)
			frames++
		}
		a.flush(1 << 30)
	}
	if a.encoded <= Window || a.encoded > Window+100_009 {
		t.Errorf("%d bytes encoded", a.encoded)
	}
	if len(a.wire) > Window || len(a.wire) < Window-100_009 {
		t.Errorf("%d bytes written with a window of %d", len(a.wire), Window)
	}
	if a.n.stalls != 1 {
		t.Errorf("%d stalls counted", a.n.stalls)
	}
	a.ctl(1)
	if a.flush(1<<30) == 0 {
		t.Error("control waits for credit")
	}
	if err := a.arrive(b, 1<<30); err != nil {
		t.Fatal(err)
	}
	b.flush(1 << 30)
	if err := b.arrive(a, 1<<30); err != nil {
		t.Fatal(err)
	}
	if a.space() == 0 || b.gotData != frames-1 {
		t.Errorf("space %d, %d of %d frames", a.space(), b.gotData, frames)
	}
}

func TestBrokenRules(t *testing.T) {
	credit := func(n uint64) []byte { return proto.AppendCredit(nil, n) }
	big := appendNumbered(nil, proto.FrameDeliver, 0, 1<<19)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"credit out of nothing", credit(1), ErrCreditReturned},
		{"credit that overflows", credit(1<<64 - 1), ErrCreditReturned},
		{"credit without a number", proto.AppendEmpty(nil, proto.FrameCredit), proto.ErrShort},
		{"more than the window", bytes.Repeat(big, 8), ErrCreditExceeded},
		{"oversize", []byte{0, 0x10, 0, 0, 0x23}, proto.ErrFrameSize},
		{"no type", []byte{0, 0, 0, 0}, proto.ErrFrameSize},
	} {
		f := newFlow()
		if _, err := f.receive(c.in, ignore{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

type ignore struct{}

func (ignore) frame(proto.FrameType, []byte) (bool, error) { return true, nil }

// TestOverWindowByHeader: a frame beyond the credit is refused before its body
// is here.
func TestOverWindowByHeader(t *testing.T) {
	f := newFlow()
	f.received = Window - 10
	head := appendNumbered(nil, proto.FrameDeliver, 0, 100)[:proto.HeaderSize]
	if _, err := f.receive(head, ignore{}); err != ErrCreditExceeded {
		t.Errorf("receive = %v", err)
	}
}

func TestBadAppendPanics(t *testing.T) {
	for name, b := range map[string][]byte{
		"half a frame": proto.AppendEmpty(nil, proto.FrameDeliver)[:4],
		"wrong class":  proto.AppendEmpty(nil, proto.FramePing),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f := newFlow()
			f.putData(func(x []byte) []byte { return append(x, b...) })
		}()
	}
}

// TestShrink: a burst's memory is given back, a steady link keeps its own.
func TestShrink(t *testing.T) {
	a := &end{flow: newFlow()}
	steady := func() {
		for range 3 {
			a.data(20_000)
			a.flush(1 << 30)
			a.shrink()
		}
	}
	a.data(1 << 19)
	a.flush(1 << 30)
	a.shrink()
	a.shrink()
	if c := cap(a.flow.data.b); c > smallBuffer {
		t.Errorf("%d bytes kept after a burst", c)
	}
	steady()
	if cap(a.flow.data.b) < 20_000 {
		t.Error("a steady link lost its buffer")
	}
}

// FuzzFlow: arbitrary bytes, in two pieces, never panic, are consumed the same
// however they are split, and nothing is kept of them.
func FuzzFlow(f *testing.F) {
	f.Add(appendNumbered(appendNumbered(nil, proto.FrameDeliver, 0, 10), proto.FrameTable, 0, 3), 7)
	f.Add(proto.AppendCredit(proto.AppendEmpty(nil, proto.FramePing), 1), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		whole, split := newFlow(), newFlow()
		n, err := whole.receive(b, ignore{})
		if n > len(b) {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
		if cut < 0 || cut > len(b) {
			return
		}
		m, err2 := split.receive(b[:cut], ignore{})
		if err2 == nil {
			var k int
			k, err2 = split.receive(b[m:], ignore{})
			m += k
		}
		if err2 != err || m != n && err == nil {
			t.Errorf("whole: %d, %v; split: %d, %v", n, err, m, err2)
		}
	})
}

func TestPulse(t *testing.T) {
	start := time.Unix(1000, 0)
	var p pulse
	at := func(d time.Duration) (ping, silent bool) { return p.tick(start.Add(d)) }
	every := 50 * time.Millisecond
	at(0)
	for d := every; d <= 2*time.Second; d += every {
		ping, silent := at(d)
		if silent != (d >= Silence) {
			t.Fatalf("silent %v after %s", silent, d)
		}
		if ping != (d >= Heartbeat) {
			t.Fatalf("ping %v after %s", ping, d)
		}
	}
	p.in, p.out = true, true
	if ping, silent := at(2050 * time.Millisecond); ping || silent {
		t.Error("a frame each way counts as life")
	}
	// An hour in which our own loop did not run is nobody's silence.
	if _, silent := at(time.Hour); silent {
		t.Error("silent after our own absence")
	}
	for d := time.Hour + every; d < time.Hour+Silence-50*time.Millisecond; d += every {
		if _, silent := at(d); silent {
			t.Fatalf("silent %s after our own absence", d-time.Hour)
		}
	}
	if _, silent := at(time.Hour + Silence); !silent {
		t.Error("not silent 1.5 s after our own absence")
	}
}

// BenchmarkFlow is a 128-byte frame through both cores.
func BenchmarkFlow(b *testing.B) {
	x, y := newFlow(), newFlow()
	frame := appendNumbered(nil, proto.FrameDeliver, 0, 128)
	back := func(from, to *flow) {
		from.repay()
		for {
			w := from.next()
			if len(w) == 0 {
				return
			}
			if _, err := to.receive(w, ignore{}); err != nil {
				b.Fatal(err)
			}
			from.wrote(len(w))
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for i := range b.N {
		x.putData(func(b []byte) []byte { return append(b, frame...) })
		if i%16 == 15 {
			back(&x, &y)
			back(&y, &x)
		}
	}
}
