package hub

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/roomring/roomring/proto"
)

// A deaf sink takes everything.
type deafSink struct{ joined int }

func (s *deafSink) Write(m *Member, b []byte) int                         { return len(b) }
func (s *deafSink) Joined(m *Member, first []byte)                        { s.joined++ }
func (s *deafSink) Refused(m *Member, code proto.Code)                    {}
func (s *deafSink) Resume(m *Member)                                      {}
func (s *deafSink) Slow(m *Member)                                        {}
func (s *deafSink) Expired(m *Member)                                     {}
func (s *deafSink) Placed(m *Member, pos proto.Position, code proto.Code) {}

const benchNode = proto.NodeName("s1/0000000000001")

var benchTime = time.Unix(1000, 0)

// benchHub is a hub with rooms of some members each, all attached.
func benchHub(tb testing.TB, rooms, members int, opt JoinOptions) (*Hub, [][]Member) {
	sink := &deafSink{}
	h := New(Config{}, sink)
	for p := range proto.Partitions {
		h.SetRow(proto.Partition(p), benchNode, 1, benchTime)
	}
	h.LinkUp(benchNode, 0, 1, benchTime)
	all := make([][]Member, rooms)
	id := uint64(0)
	for i := range all {
		all[i] = make([]Member, members)
		for k := range all[i] {
			id++
			all[i][k].ID = id
			h.Join(&all[i][k], benchRoom(i), opt, benchTime)
		}
	}
	h.Fill(benchNode, 0, nil, 1<<30)
	for i := range all {
		name := benchRoom(i)
		b, start := proto.BeginBatch(nil, proto.FrameAttached, proto.PartitionOf(name, proto.Partitions), 1)
		b = proto.AppendAttachedEntry(b, &proto.AttachedEntry{Room: name, Epoch: proto.MintEpoch(1), First: 1})
		b = proto.End(b, start)
		if err := h.Frame(benchNode, proto.FrameAttached, b[proto.HeaderSize:], benchTime); err != nil {
			tb.Fatal(err)
		}
	}
	if sink.joined != rooms*members {
		tb.Fatalf("joined %d of %d", sink.joined, rooms*members)
	}
	return h, all
}

func benchRoom(i int) []byte { return fmt.Appendf(nil, "room-%d", i) }

// BenchmarkFanOut hands batches of 64 messages of 128 bytes to 1000 members.
func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct {
		name string
		opt  JoinOptions
	}{{"plain", JoinOptions{}}, {"numbered", JoinOptions{Numbered: true}}, {"no-echo", JoinOptions{NoEcho: true}}} {
		b.Run(c.name, func(b *testing.B) {
			const members, batch = 1000, 64
			h, _ := benchHub(b, 1, members, c.opt)
			name, payload := benchRoom(0), make([]byte, 128)
			now, next := benchTime, proto.Offset(1)
			var frame []byte
			round := func() {
				f, start := proto.BeginDeliver(frame[:0], proto.PartitionOf(name, proto.Partitions), 1, name, proto.MintEpoch(1), next)
				for range batch {
					f = proto.AppendMessage(f, proto.KindText, 0, payload)
				}
				frame = proto.End(f, start)
				if err := h.Frame(benchNode, proto.FrameDeliver, frame[proto.HeaderSize:], now); err != nil {
					b.Fatal(err)
				}
				h.FanOut(now)
				next += batch
				now = now.Add(time.Millisecond)
				if next%6400 == 1 {
					h.Tick(now)
				}
			}
			for range 300 {
				round()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				round()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members/batch, "ns/delivery")
		})
	}
}

// benchRooms returns what sends single messages of 128 bytes through so many
// rooms: Publish, Fill, Deliver and Ack, FanOut, in turns of so many messages.
func benchRooms(tb testing.TB, rooms, members, turn int) (*Hub, func()) {
	h, all := benchHub(tb, rooms, members, JoinOptions{})
	payload := make([]byte, 128)
	now := benchTime
	last := make([]proto.Offset, rooms)
	names := make([][]byte, rooms)
	seqs := make(map[proto.Partition]proto.Seq)
	for i := range names {
		names[i] = benchRoom(i)
	}
	var out, in []byte
	at := 0
	return h, func() {
		for k := range turn {
			h.Publish(&all[(at+k)%rooms][k%members], proto.KindText, payload, now)
		}
		h.Work(func(node proto.NodeName, index int) { out = h.Fill(node, index, out[:0], 1<<20) })
		for k := range turn {
			i := (at + k) % rooms
			p := proto.PartitionOf(names[i], proto.Partitions)
			last[i]++
			seqs[p]++
			f, start := proto.BeginDeliver(in[:0], p, 1, names[i], proto.MintEpoch(1), last[i])
			f = proto.AppendMessage(f, proto.KindText, all[i][k%members].ID, payload)
			in = proto.End(f, start)
			if err := h.Frame(benchNode, proto.FrameDeliver, in[proto.HeaderSize:], now); err != nil {
				tb.Fatal(err)
			}
			in = proto.AppendAck(in[:0], p, 1, seqs[p], nil)
			if err := h.Frame(benchNode, proto.FrameAck, in[proto.HeaderSize:], now); err != nil {
				tb.Fatal(err)
			}
		}
		h.FanOut(now)
		h.Tick(now)
		at += turn
	}
}

// TestSteadyPathAllocatesNothing: also when thousands of rooms have a message on
// its way.
func TestSteadyPathAllocatesNothing(t *testing.T) {
	const rooms = 2000
	for _, turn := range []int{32, rooms} {
		_, round := benchRooms(t, rooms, 5, turn)
		for range 20 * rooms / turn {
			round()
		}
		if n := testing.AllocsPerRun(20, round); n > float64(turn)/1000 { // lists may find their size yet
			t.Errorf("%v allocations per %d messages", n, turn)
		}
	}
}

// TestBurstIsForgotten: what ten thousand publishes needed at once is not kept for
// hours.
func TestBurstIsForgotten(t *testing.T) {
	h, round := benchRooms(t, 2000, 5, 10_000)
	round()
	if h.buffers.held == 0 || h.spared == 0 || h.waits.Len() == 0 {
		t.Fatal("a burst leaves nothing behind, so this test is about nothing")
	}
	for at := benchTime; at.Before(benchTime.Add(10 * time.Second)); at = at.Add(50 * time.Millisecond) {
		h.Tick(at)
	}
	if h.buffers.held != 0 || h.spared != 0 || h.waits.Len() != 0 {
		t.Errorf("%d bytes of buffers, %d places for publishes, %d for joins are kept though nobody needs them",
			h.buffers.held, h.spared, h.waits.Len())
	}
	for _, p := range h.parts {
		for i, c := range p.pub.chunks[:cap(p.pub.chunks)] {
			if c.seg != nil {
				t.Fatalf("partition %d, chunk %d: a segment is held that was given back", p.id, i)
			}
		}
	}
}

// BenchmarkRooms is single messages in 2000 rooms, 32 in a turn.
func BenchmarkRooms(b *testing.B) {
	const rooms, turn = 2000, 32
	h, round := benchRooms(b, rooms, 5, turn)
	for range 1000 {
		round()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/turn, "ns/message")
	if n := h.Stats().Unacknowledged; n != 0 {
		b.Fatalf("%d bytes unacknowledged", n)
	}
}

// BenchmarkMemory says what 10,000 members cost, those of the conns that embed them
// included, when each has published once and a while has passed.
func BenchmarkMemory(b *testing.B) {
	const conns = 10_000
	for _, members := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			var size float64
			for b.Loop() {
				empty, _ := benchHub(b, 0, 0, JoinOptions{})
				h, round := benchRooms(b, conns/members, members, conns/members)
				for range members {
					round()
				}
				for at := benchTime; at.Before(benchTime.Add(10 * time.Second)); at = at.Add(50 * time.Millisecond) {
					h.Tick(at)
				}
				round = nil // and with it what only the benchmark needs
				all := heap()
				runtime.KeepAlive(h)
				h = nil
				none := heap()
				runtime.KeepAlive(empty)
				empty = nil
				size = float64(all-none) - float64(none-heap())
			}
			b.ReportMetric(size/conns, "B/member")
			b.ReportMetric(size/conns*float64(members), "B/room")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestIdleSizes(t *testing.T) {
	if n := unsafe.Sizeof(Member{}); n > 64 {
		t.Errorf("a member takes %d bytes, want 64 at most", n)
	}
	if n := unsafe.Sizeof(room{}); n > 256 {
		t.Errorf("a room takes %d bytes, want 256 at most", n)
	}
	t.Logf("member %d, room %d, chain %d, segment %d, partition %d, pending %d bytes", unsafe.Sizeof(Member{}), unsafe.Sizeof(room{}),
		unsafe.Sizeof(chain{}), unsafe.Sizeof(segment{}), unsafe.Sizeof(partition{}), unsafe.Sizeof(pending{}))
}
