package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/latency"
	"github.com/roomring/roomring/proto"
)

// published is the conns of the publishes that the hub sends now.
func (b *bench) published() (conns []uint64) {
	b.Helper()
	for out := b.h.Fill(benchNode, 0, nil, 1<<20); len(out) > 0; {
		typ, size, err := proto.ParseHeader(out)
		if err != nil {
			b.Fatal(err)
		}
		if typ == proto.FramePublish {
			x, _ := proto.ParsePublish(out[proto.HeaderSize:size])
			conns = append(conns, x.Conn)
		}
		out = out[size:]
	}
	return conns
}

// tell delivers messages of conns, from an offset on.
func (b *bench) tell(first proto.Offset, conns ...uint64) {
	b.Helper()
	f, start := proto.BeginDeliver(nil, 0, 1, "r", epochA, first)
	for _, conn := range conns {
		f = proto.AppendMessage(f, proto.KindText, conn, []byte("x"))
	}
	b.frame(proto.End(f, start))
}

func (b *bench) ack(upto proto.Seq, results ...proto.Result) {
	b.Helper()
	b.frame(proto.AppendAck(nil, 0, 1, upto, results))
}

// counted says what a histogram has.
func counted(h *latency.Histogram) string { return fmt.Sprintf("%d in %v", h.Total(), h.Sum) }

func (b *bench) timed(delivered, acknowledged string, open int) {
	b.Helper()
	s := b.h.Stats()
	b.want("delivered", counted(&s.PublishToDeliver), delivered)
	b.want("acknowledged", counted(&s.Acknowledge), acknowledged)
	if n := len(b.h.samples); n != open {
		b.Errorf("%d samples are under way, want %d", n, open)
	}
}

// A timed publish is known by its mark, whatever else its conn has said, and
// counts until it is acknowledged and until it is heard, in any order.
func TestPublishesAreTimed(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(7, JoinOptions{NoEcho: true})
	n := b.join(8, JoinOptions{})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	say := func(m *Member) { b.h.Publish(m, proto.KindText, []byte("x"), b.now) }
	for range sampleEvery {
		say(m)
		b.ack(b.h.parts[0].pub.base) // else it is paused; all but the first are not timed
	}
	say(n)
	if conns := b.published(); len(conns) != 1 || conns[0] != 8|proto.TimedConn {
		t.Fatalf("publishes are of conns %x", conns)
	}
	b.timed("0 in 0s", "1 in 0s", 2)
	b.now = b.now.Add(time.Millisecond)
	b.tell(1, 7|proto.TimedConn, 7, 8|proto.TimedConn, 8)
	b.timed("2 in 2ms", "1 in 0s", 1)
	b.now = b.now.Add(time.Millisecond)
	b.ack(sampleEvery + 1)
	b.timed("2 in 2ms", "2 in 2ms", 0)
	b.h.FanOut(b.now)
	if got := string(b.got[7]); got != string(text("x", "x")) {
		t.Errorf("who wants no echo heard %q", got)
	}
	say(n)
	if conns := b.published(); len(conns) != 1 || conns[0] != 8 {
		t.Errorf("within a second and 64 another is timed: %x", conns)
	}
	b.now = b.now.Add(time.Second)
	say(n)
	if conns := b.published(); len(conns) != 1 || conns[0] != 8|proto.TimedConn {
		t.Errorf("after a second none is timed: %x", conns)
	}
}

// Nothing is left of a sample whose message does not come.
func TestSamplesEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(b *bench, m *Member)
		acks string
	}{
		{"refused", func(b *bench, m *Member) { b.ack(1, proto.Result{Seq: 1, Code: proto.TooBig}) }, "0 in 0s"},
		{"given up", func(b *bench, m *Member) { b.pass(time.Minute) }, "0 in 0s"},
		{"the last member leaves", func(b *bench, m *Member) { b.h.Leave(m, b.now); b.h.FanOut(b.now); b.ack(1) }, "0 in 0s"},
		{"acknowledged, and lost in a gap", func(b *bench, m *Member) {
			b.ack(1)
			b.attached(epochA, 5, 6, proto.StatusGap)
			b.pass(2 * time.Minute)
		}, "1 in 0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{})
			m := b.join(7, JoinOptions{})
			b.sent()
			b.attached(epochA, 0, 1, proto.StatusWhole)
			b.h.Publish(m, proto.KindText, []byte("x"), b.now)
			b.published()
			b.timed("0 in 0s", "0 in 0s", 1)
			c.do(b, m)
			b.timed("0 in 0s", c.acks, 0)
		})
	}
}

// There are never more samples than there may be, and one conn has one.
func TestSamplesAreBounded(t *testing.T) {
	b := newBench(t, Config{})
	var members []*Member
	for i := range 2 * maxSamples {
		members = append(members, b.join(uint64(i+1), JoinOptions{}))
	}
	b.attached(epochA, 0, 1, proto.StatusWhole)
	for _, m := range members {
		for range 2 {
			b.now = b.now.Add(time.Second / 2)
			b.h.Publish(m, proto.KindText, []byte("x"), b.now)
		}
	}
	if n := len(b.h.samples); n != maxSamples {
		t.Errorf("%d samples are under way", n)
	}
	seen := map[uint64]bool{}
	for _, s := range b.h.samples {
		if seen[s.conn] {
			t.Errorf("conn %d has two", s.conn)
		}
		seen[s.conn] = true
	}
}

// TestPauses: what counts as a pause, for how long, and as which one.
func TestPauses(t *testing.T) {
	const ms = time.Millisecond
	wait := func(d time.Duration) func(b *bench) { return func(b *bench) { b.now = b.now.Add(d) } }
	say := func(b *bench) { b.h.Publish(b.member, proto.KindText, []byte("x"), b.now) }
	down := func(b *bench) { b.h.LinkDown(benchNode, 0, b.now) }
	up := func(b *bench) { b.h.LinkUp(benchNode, 0, 1, b.now) }
	signal := func(typ proto.FrameType) func(b *bench) {
		return func(b *bench) { b.signal(typ, 1, 1) }
	}
	row := func(owner proto.NodeName, term proto.Term) func(b *bench) {
		return func(b *bench) { b.h.SetRow(0, owner, term, b.now) }
	}
	serve := func(owner proto.NodeName, term proto.Term) func(b *bench) {
		return func(b *bench) {
			b.h.Fill(owner, 0, nil, 1<<20)
			b.from(owner, attachedIn(term, 0, 1))
		}
	}
	for _, c := range []struct {
		name           string
		steps          []func(b *bench)
		failover, move string
	}{
		{"killed", steps{down, wait(300 * ms), row(otherNode, 2), wait(10 * ms), serve(otherNode, 2)}, "1 in 310ms", "0 in 0s"},
		{"killed while somebody waits", steps{say, wait(5 * ms), down, wait(300 * ms), row(otherNode, 2), serve(otherNode, 2)}, "1 in 305ms", "0 in 0s"},
		{"the row is quicker than the link", steps{row(otherNode, 2), wait(ms), down, wait(ms), serve(otherNode, 2)}, "1 in 2ms", "0 in 0s"},
		{"nobody for a time", steps{down, wait(ms), row("", 2), wait(ms), row(otherNode, 3), wait(ms), serve(otherNode, 3)}, "1 in 3ms", "0 in 0s"},
		{"moved", steps{row(otherNode, 2), wait(3 * ms), serve(otherNode, 2)}, "0 in 0s", "1 in 3ms"},
		{"held, then moved", steps{say, signal(proto.FrameHold), wait(20 * ms), row(otherNode, 2), wait(3 * ms), serve(otherNode, 2)}, "0 in 0s", "1 in 23ms"},
		{"told that it moved", steps{signal(proto.FrameMoved), wait(20 * ms), row(otherNode, 2), serve(otherNode, 2)}, "0 in 0s", "1 in 20ms"},
		{"silent, and the row is quicker than the link", steps{say, wait(2 * time.Second), row(otherNode, 2), wait(10 * ms), serve(otherNode, 2)}, "1 in 2.01s", "0 in 0s"},
		{"a long move", steps{say, signal(proto.FrameHold), wait(2 * time.Second), row(otherNode, 2), serve(otherNode, 2)}, "0 in 0s", "1 in 2s"},
		{"moved twice", steps{row(otherNode, 2), wait(ms), row(benchNode, 3), wait(ms), serve(benchNode, 3)}, "0 in 0s", "0 in 0s"},
		{"held back only", steps{say, signal(proto.FrameHold), wait(20 * ms), signal(proto.FrameGo), wait(ms), row(otherNode, 2), serve(otherNode, 2)}, "0 in 0s", "1 in 21ms"},
		{"held back long ago", steps{say, signal(proto.FrameHold), wait(20 * ms), signal(proto.FrameGo), func(b *bench) { b.ack(1) }, wait(time.Hour), row(otherNode, 2), wait(ms), serve(otherNode, 2)}, "0 in 0s", "1 in 1ms"},
		{"a link that comes back", steps{down, wait(300 * ms), up, serve(benchNode, 1), wait(time.Hour), row(otherNode, 2), wait(ms), serve(otherNode, 2)}, "0 in 0s", "1 in 1ms"},
		{"a term of the same owner", steps{row(benchNode, 2), wait(ms), serve(benchNode, 2)}, "0 in 0s", "0 in 0s"},
		{"everybody left", steps{down, func(b *bench) { b.h.Leave(b.member, b.now); b.h.FanOut(b.now) }, wait(time.Hour), row(otherNode, 2), func(b *bench) { b.join(9, JoinOptions{}) }, serve(otherNode, 2)}, "0 in 0s", "0 in 0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.h.LinkUp(otherNode, 0, 1, b.now)
			b.member = b.join(7, JoinOptions{})
			b.sent()
			b.attached(epochA, 0, 1, proto.StatusWhole)
			for _, step := range c.steps {
				step(b)
			}
			s := b.h.Stats()
			b.want("fail-over", counted(&s.FailoverPause), c.failover)
			b.want("move", counted(&s.MovePause), c.move)
			if p := b.h.parts[0].pause; p != (pause{}) {
				t.Errorf("it goes on: %+v", p)
			}
		})
	}
}

type steps = []func(b *bench)
