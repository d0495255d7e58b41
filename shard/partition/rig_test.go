package partition

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

const self proto.NodeName = "s1/0000000000001"

// rig is a lane with a clock and, unless said otherwise, one partition that it
// owns in term 1. Its routers speak in few words, and what they are sent is
// read back as lines.
type rig struct {
	t   testing.TB
	l   *Lane
	now time.Time
}

func newRig(t testing.TB, cfg Config) *rig {
	cfg.Self = self
	if cfg.Partitions == 0 {
		cfg.Partitions = 1
	}
	var minted uint64
	cfg.Bits = func() uint64 { minted++; return minted }
	g := &rig{t: t, l: NewLane(cfg), now: time.Unix(1000, 0)}
	for p := range cfg.Partitions {
		g.l.SetTable(proto.Partition(p), Row{Owner: self, Term: 1, Since: 1}, g.now)
	}
	return g
}

// row tells of partition 0.
func (g *rig) row(row Row) { g.l.SetTable(0, row, g.now) }

// pass lets time pass in Ticks of 50 ms at most 1,000 of them.
func (g *rig) pass(d time.Duration) {
	step := max(d/1000, 50*time.Millisecond)
	for end := g.now.Add(d); g.now.Before(end); {
		g.now = g.now.Add(step)
		g.l.Tick(g.now)
	}
}

func (g *rig) up(id string) *Peer { return g.l.RouterUp(routerName(id), 0, 1) }

func routerName(id string) proto.NodeName { return proto.MakeNodeName(proto.NodeID(id), 1) }

// send hands in a whole frame.
func (g *rig) send(r *Peer, frame []byte) error {
	g.t.Helper()
	typ, size, err := proto.ParseHeader(frame)
	if err != nil || size != len(frame) {
		g.t.Fatalf("frame of %d bytes says %d: %v", len(frame), size, err)
	}
	return g.l.Frame(r, typ, frame[proto.HeaderSize:], g.now)
}

func (g *rig) must(r *Peer, frame []byte) {
	g.t.Helper()
	if err := g.send(r, frame); err != nil {
		g.t.Fatal(err)
	}
}

// pub is a publish of term 1 in partition 0, by conn 9.
func pub(seq, base proto.Seq, room, payload string) *proto.Publish {
	return &proto.Publish{Term: 1, Seq: seq, Base: base, Conn: 9, Room: []byte(room), Payload: []byte(payload)}
}

func (g *rig) publish(r *Peer, x *proto.Publish) {
	g.t.Helper()
	g.must(r, proto.AppendPublish(nil, x))
}

// say publishes the next seqs of a router that has no others in flight.
func (g *rig) say(r *Peer, room string, payloads ...string) {
	g.t.Helper()
	for _, p := range payloads {
		seq := proto.Seq(1)
		if pub := r.router.pubs[0]; pub != nil {
			seq = pub.last + 1
		}
		g.publish(r, pub(seq, seq, room, p))
	}
}

// attachFrame asks for "room" or "room EPOCH.OFFSET" of partition 0 in a term.
func attachFrame(term proto.Term, rooms ...string) []byte {
	b, start := proto.BeginBatch(nil, proto.FrameAttach, 0, term)
	for _, s := range rooms {
		name, at, _ := strings.Cut(s, " ")
		var p proto.Position
		if at != "" {
			var n uint64
			var o proto.Offset
			if _, err := fmt.Sscanf(at, "e%d.%d", &n, &o); err != nil {
				panic(err)
			}
			p = proto.Position{Epoch: proto.MintEpoch(n), Offset: o}
		}
		b = proto.AppendAttachEntry(b, name, p.Epoch, p.Offset)
	}
	return proto.End(b, start)
}

func (g *rig) attach(r *Peer, rooms ...string) {
	g.t.Helper()
	g.must(r, attachFrame(1, rooms...))
}

func (g *rig) detach(r *Peer, room string) {
	g.t.Helper()
	b, start := proto.BeginBatch(nil, proto.FrameDetach, 0, 1)
	g.must(r, proto.End(proto.AppendDetachEntry(b, room), start))
}

func (g *rig) members(r *Peer, room string, n uint32) {
	g.t.Helper()
	b, start := proto.BeginBatch(nil, proto.FrameMembers, 0, 1)
	g.must(r, proto.End(proto.AppendMembersEntry(b, room, n), start))
}

func (g *rig) fetch(r *Peer, room string, epoch uint64, after, upto proto.Offset) error {
	g.t.Helper()
	return g.send(r, proto.AppendFetch(nil, &proto.Fetch{Term: 1, Room: []byte(room), Epoch: proto.MintEpoch(epoch), After: after, Upto: upto}))
}

// control and data are what a peer is sent now, as lines.
func (g *rig) control(r *Peer) []string { return lines(g.t, g.l.Control(r, nil)) }

func (g *rig) data(r *Peer) []string { return lines(g.t, g.l.Fill(r, nil, 64<<20)) }

func (g *rig) want(what string, have []string, want ...string) {
	g.t.Helper()
	if !slices.Equal(have, want) {
		g.t.Errorf("%s:\n  have %s\n  want %s", what, strings.Join(have, "\n       "), strings.Join(want, "\n       "))
	}
}

func short(e proto.Epoch) string {
	if e.IsZero() {
		return "none"
	}
	return "e" + strings.TrimLeft(e.String(), "0")
}

// lines reads frames as a person would tell them.
func lines(t testing.TB, b []byte) (out []string) {
	t.Helper()
	eachFrame(t, b, func(typ proto.FrameType, body []byte) {
		out = append(out, describe(t, typ, body)...)
	})
	return out
}

func eachFrame(t testing.TB, b []byte, f func(typ proto.FrameType, body []byte)) {
	t.Helper()
	for len(b) > 0 {
		typ, size, err := proto.ParseHeader(b)
		if err != nil || size == 0 || size > len(b) {
			t.Fatalf("broken frame: %v, size %d of %d", err, size, len(b))
		}
		f(typ, b[proto.HeaderSize:size])
		b = b[size:]
	}
}

func describe(t testing.TB, typ proto.FrameType, body []byte) (out []string) {
	t.Helper()
	switch typ {
	case proto.FrameAck:
		x, err := proto.ParseAck(body)
		check(t, err)
		s := fmt.Appendf(nil, "ack %d t%d", x.Upto, x.Term)
		for res, ok := x.Results.Next(); ok; res, ok = x.Results.Next() {
			s = fmt.Appendf(s, " %d:%s", res.Seq, res.Code)
		}
		return []string{string(s)}
	case proto.FrameAttached:
		x, err := proto.ParseBatch(body)
		check(t, err)
		for e, ok := x.NextAttached(); ok; e, ok = x.NextAttached() {
			out = append(out, describeAttached(e))
		}
		check(t, x.Err())
		return out
	case proto.FrameDeliver:
		x, err := proto.ParseDeliver(body)
		check(t, err)
		return []string{fmt.Sprintf("deliver %s %s.%d%s", x.Room, short(x.Epoch), x.Offset, messages(t, &x.Messages))}
	case proto.FrameFetched:
		x, err := proto.ParseFetched(body)
		check(t, err)
		s := fmt.Sprintf("fetched %s %s after %d%s", x.Room, short(x.Epoch), x.After, messages(t, &x.Messages))
		if x.Last {
			s += " last"
		}
		return []string{s}
	}
	switch typ {
	case proto.FrameAppend:
		return []string{describeAppend(t, body)}
	case proto.FrameSnapshot:
		return []string{describeSnapshot(t, body)}
	case proto.FrameStored:
		return []string{describeStored(t, body)}
	}
	x, err := proto.ParseSignal(typ, body)
	check(t, err)
	s := fmt.Sprintf("%s t%d", typ, x.Term)
	if x.Seq != 0 {
		s += fmt.Sprintf(" %d", x.Seq)
	}
	return []string{s}
}

func describeAppend(t testing.TB, body []byte) string {
	x, err := proto.ParseAppend(body)
	check(t, err)
	s := fmt.Sprintf("append t%d behind %d/%d commit %d", x.Term, x.Prev, x.PrevTerm, x.Commit)
	if x.Entries.Len() == 0 {
		return s
	}
	return s + ":" + kinds(t, &x.Entries) + fmt.Sprintf(" of t%d", x.EntryTerm)
}

func describeSnapshot(t testing.TB, body []byte) string {
	x, err := proto.ParseSnapshot(body)
	check(t, err)
	s := fmt.Sprintf("snapshot t%d @%d", x.Term, x.Index)
	if x.First {
		s += " first"
	}
	if x.Last {
		s += " last"
	}
	return s + ":" + kinds(t, &x.Entries)
}

// kinds lists entries; many alike in a row are counted.
func kinds(t testing.TB, list *proto.Entries) (s string) {
	var e proto.Entry
	for list.Next(&e) {
		s += " " + e.Kind.String()
	}
	check(t, list.Err())
	return s
}

func describeStored(t testing.TB, body []byte) string {
	x, err := proto.ParseStored(body)
	check(t, err)
	s := fmt.Sprintf("stored t%d %d", x.Term, x.Index)
	if x.Whole {
		s += " whole"
	}
	if x.Gap {
		s += " gap"
	}
	return s
}

func describeAttached(e proto.AttachedEntry) string {
	if e.Status == proto.StatusRefused {
		return fmt.Sprintf("attached %s refused %s", e.Room, proto.Code(e.Offset))
	}
	status := [...]string{"whole", "gap", "reset"}[e.Status]
	return fmt.Sprintf("attached %s %s.%d first %d %s", e.Room, short(e.Epoch), e.Offset, e.First, status)
}

func messages(t testing.TB, x *proto.Messages) (s string) {
	t.Helper()
	for m, ok := x.Next(); ok; m, ok = x.Next() {
		s += " " + string(m.Payload)
		if m.Conn != 0 {
			s += fmt.Sprintf("#%d", m.Conn)
		}
	}
	check(t, x.Err())
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
