package partition

import (
	"fmt"
	"runtime"
	"testing"
	"time"

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

	follower *Lane // nil for none
	to, from *Peer // it, as the owner knows it, and the other way round
}

const loadPartitions = proto.Partitions

func newLoad(tb testing.TB, rooms int) *load {
	w := &load{rig: newRig(tb, loadConfig()), seqs: map[proto.Partition]proto.Seq{}}
	w.begin(rooms)
	return w
}

// newPair is a load with a follower of all partitions.
func newPair(tb testing.TB, rooms int) *load {
	w := &load{rig: newRig(tb, loadConfig()), seqs: map[proto.Partition]proto.Seq{}}
	cfg := loadConfig()
	cfg.Self = stranger
	w.l, w.follower = NewLane(w.l.cfg), NewLane(cfg)
	for p := range loadPartitions {
		row := Row{Owner: self, Followers: []proto.NodeName{stranger}, Term: 1, Since: 1}
		w.l.SetTable(proto.Partition(p), row, w.now)
		w.follower.SetTable(proto.Partition(p), row, w.now)
	}
	w.to, w.from = w.l.ShardUp(stranger, 0, 1), w.follower.ShardUp(self, 0, 1)
	w.begin(rooms)
	return w
}

func loadConfig() Config {
	return Config{Partitions: loadPartitions, HistoryMessages: 100, WindowAge: -1}
}

func (w *load) begin(rooms int) {
	w.r = w.up("r1")
	for i := range rooms {
		name := fmt.Sprintf("room-%d", i)
		p := proto.PartitionOfString(name, loadPartitions)
		b, start := proto.BeginBatch(nil, proto.FrameAttach, p, 1)
		w.must(w.r, proto.End(proto.AppendAttachEntry(b, name, proto.Epoch{}, 0), start))
		x := proto.Publish{Partition: p, Term: 1, Seq: 1, Base: 1, Conn: 9, Room: []byte(name), Payload: make([]byte, 128)}
		w.frames = append(w.frames, proto.AppendPublish(nil, &x))
		w.parts = append(w.parts, p)
	}
	w.turn()
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

// turn is that of the owner, and of the follower with what it leads to.
func (w *load) turn() {
	for w.dirty = w.l.Dirty(w.dirty[:0]); len(w.dirty) > 0; w.dirty = w.l.Dirty(w.dirty[:0]) {
		for _, r := range w.dirty {
			w.out = w.l.Control(r, w.out[:0])
			w.out = w.l.Fill(r, w.out, 1<<20)
			if r == w.to {
				w.pass(w.follower, w.from)
				w.out = w.follower.Fill(w.from, w.follower.Control(w.from, w.out[:0]), 1<<20)
				w.pass(w.l, w.to)
			}
		}
	}
}

// pass hands what was written to a lane.
func (w *load) pass(l *Lane, r *Peer) {
	for b := w.out; len(b) > 0; {
		typ, size, _ := proto.ParseHeader(b)
		if err := l.Frame(r, typ, b[proto.HeaderSize:size], w.now); err != nil {
			w.t.Fatal(err)
		}
		b = b[size:]
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
	for followers, make := range []func(testing.TB, int) *load{newLoad, newPair} {
		hot, many := make(t, 1), make(t, 1000)
		for range 300 { // until what is given back is what is taken
			hot.hot()
			many.many()
		}
		if n := testing.AllocsPerRun(100, hot.hot); n != 0 {
			t.Errorf("a hot room, %d followers: %v allocations per 64 messages", followers, n)
		}
		if n := testing.AllocsPerRun(20, many.many); n != 0 {
			t.Errorf("1000 rooms, %d followers: %v allocations per message each", followers, n)
		}
	}
}

// TestFollowerKeepsPace: the loads above end with equal copies.
func TestFollowerKeepsPace(t *testing.T) {
	w := newPair(t, 200)
	for range 5 {
		w.many()
	}
	w.now = w.now.Add(time.Second)
	w.l.Tick(w.now)
	w.turn()
	w.l.Tick(w.now)
	if n := len(w.l.uneasy); n != 0 {
		t.Errorf("%d partitions are looked at in every Tick though nothing is to be expected of them", n)
	}
	for p := range proto.Partition(loadPartitions) {
		i, sum, _ := w.l.Digest(p)
		j, other, ok := w.follower.Digest(p)
		if !ok || i != j || sum != other {
			t.Errorf("partition %d: %d %x, the follower has %d %x (%v)", p, i, sum, j, other, ok)
		}
	}
	if a, b := w.l.Stats(), w.follower.Stats(); a.PendingBytes+b.PendingBytes != 0 || b.Rooms != 200 || b.Following != loadPartitions {
		t.Errorf("owner %+v\nfollower %+v", a, b)
	}
}

// TestBurstIsForgotten: what a thousand rooms needed at once is not kept for hours.
func TestBurstIsForgotten(t *testing.T) {
	w := newPair(t, 1000)
	w.many()
	free := func() (n int) {
		for _, l := range []*Lane{w.l, w.follower} {
			for k := range l.shelves.bytes.free {
				n += l.shelves.bytes.free[k].Len() + l.shelves.metas.free[k].Len()
			}
		}
		return n
	}
	if free() == 0 {
		t.Fatal("a burst leaves nothing behind, so this test is about nothing")
	}
	if w.rest(10 * time.Second); free() != 0 {
		t.Errorf("%d slices for logs are kept though nobody needs them", free())
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

// BenchmarkHotRoom is one room, 64 messages per turn; per message. Pair is with
// a follower: append, store, commit, and its own copy.
func BenchmarkHotRoom(b *testing.B)     { benchmarkHot(b, newLoad(b, 1)) }
func BenchmarkHotRoomPair(b *testing.B) { benchmarkHot(b, newPair(b, 1)) }

func benchmarkHot(b *testing.B, w *load) {
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
func BenchmarkManyRooms(b *testing.B)     { benchmarkMany(b, newLoad(b, 2000)) }
func BenchmarkManyRoomsPair(b *testing.B) { benchmarkMany(b, newPair(b, 2000)) }

func benchmarkMany(b *testing.B, w *load) {
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

// BenchmarkMemory says what a room costs that a router hears and that keeps so many
// messages of 128 bytes: 10,000 rooms, once all is said and a while has passed. Pair
// is owner and follower together.
func BenchmarkMemory(b *testing.B)     { benchmarkMemory(b, newLoad) }
func BenchmarkMemoryPair(b *testing.B) { benchmarkMemory(b, newPair) }

func benchmarkMemory(b *testing.B, make func(testing.TB, int) *load) {
	const rooms = 10_000
	for _, messages := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			var size float64
			for b.Loop() {
				empty, w := make(b, 0), make(b, rooms)
				for range messages {
					w.many()
				}
				w.rest(10 * time.Second)
				w.frames, w.parts, w.seqs, w.out = nil, nil, nil, nil
				all := heap()
				runtime.KeepAlive(w)
				w = nil
				none := heap()
				runtime.KeepAlive(empty)
				empty = nil
				size = (float64(all-none) - float64(none-heap())) / rooms
			}
			b.ReportMetric(size, "B/room")
		})
	}
}

// rest lets time pass in which nobody says anything.
func (w *load) rest(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.turn() {
		w.now = w.now.Add(50 * time.Millisecond)
		w.l.Tick(w.now)
		if w.follower != nil {
			w.follower.Tick(w.now)
		}
	}
}
