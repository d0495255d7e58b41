package partition

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/roomring/roomring/proto"
)

// load is one router that publishes to and hears the same rooms, the whole
// way through the core: parse, append, commit, acknowledge, deliver.
type load struct {
	*rig
	r      *Peer
	frames [][]byte // one publish per room, by room
	parts  []proto.Partition
	seqs   map[proto.Partition]proto.Seq
	out    []byte
	dirty  []*Peer
}

func newLoad(tb testing.TB, rooms int) *load {
	w := &load{rig: newRig(tb, Config{Partitions: 512, HistoryMessages: 100, WindowAge: -1}), seqs: map[proto.Partition]proto.Seq{}}
	w.r = w.up("r1")
	for i := range rooms {
		name := fmt.Sprintf("room-%d", i)
		p := proto.PartitionOfString(name, 512)
		b, start := proto.BeginBatch(nil, proto.FrameAttach, p, 1)
		w.must(w.r, proto.End(proto.AppendAttachEntry(b, name, proto.Epoch{}, 0), start))
		x := proto.Publish{Partition: p, Term: 1, Seq: 1, Base: 1, Conn: 9, Room: []byte(name), Payload: make([]byte, 128)}
		w.frames = append(w.frames, proto.AppendPublish(nil, &x))
		w.parts = append(w.parts, p)
	}
	w.turn()
	return w
}

// publish sends the next message of a room; the frame is made beforehand but
// for its seq.
func (w *load) publish(i int) {
	f := w.frames[i][proto.HeaderSize:]
	w.seqs[w.parts[i]]++
	seq := w.seqs[w.parts[i]]
	for k := range 8 {
		f[10+k] = byte(seq >> (56 - 8*k))
		f[18+k] = f[10+k]
	}
	if err := w.l.Frame(w.r, proto.FramePublish, f, w.now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *load) turn() {
	w.dirty = w.l.Dirty(w.dirty[:0])
	for _, r := range w.dirty {
		w.out = w.l.Control(r, w.out[:0])
		w.out = w.l.Fill(r, w.out, 1<<20)
	}
}

func (w *load) hot() {
	for range 64 {
		w.publish(0)
	}
	w.turn()
}

func (w *load) many() {
	for i := range w.frames {
		w.publish(i)
	}
	w.turn()
}

func TestSteadyPathAllocatesNothing(t *testing.T) {
	hot, many := newLoad(t, 1), newLoad(t, 200)
	for range 300 {
		hot.hot()
		many.many()
	}
	if n := testing.AllocsPerRun(100, hot.hot); n != 0 {
		t.Errorf("a hot room: %v allocations per 64 messages", n)
	}
	if n := testing.AllocsPerRun(20, many.many); n != 0 {
		t.Errorf("200 rooms: %v allocations per message each", n)
	}
}

func TestIdleRoomIsSmall(t *testing.T) {
	const n = 100_000
	g := newRig(t, Config{})
	r := g.up("r1")
	before := heap()
	for i := range n {
		g.attach(r, fmt.Sprintf("room-%d", i))
	}
	g.l.Fill(r, nil, 64<<20)
	size := (heap() - before) / n
	t.Logf("an idle empty room with a router attached: %d bytes", size)
	if size > 350 {
		t.Errorf("an idle empty room takes %d bytes", size)
	}
	runtime.KeepAlive(g)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkHotRoom is one room, 64 messages per turn; per message.
func BenchmarkHotRoom(b *testing.B) {
	w := newLoad(b, 1)
	b.ReportAllocs()
	b.SetBytes(128)
	for i := 0; b.Loop(); i++ {
		w.publish(0)
		if i%64 == 63 {
			w.turn()
		}
	}
}

// BenchmarkManyRooms is 2000 rooms with one message each per turn; per message.
func BenchmarkManyRooms(b *testing.B) {
	w := newLoad(b, 2000)
	for range 300 { // until what is given back is what is taken
		w.many()
	}
	b.ReportAllocs()
	b.SetBytes(128)
	for i := 0; b.Loop(); i++ {
		w.publish(i % 2000)
		if i%2000 == 1999 {
			w.turn()
		}
	}
}
