package link_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
	"github.com/roomring/roomring/shard/partition"
)

// path is the whole way of a message, over real sockets on loopback: client,
// router, owner, follower, and back to every member of the room. Of each
// partition one of two shards is the owner and the other one the follower. Each
// of the four has one loop.
type path struct {
	tb      testing.TB
	ctx     context.Context
	running sync.WaitGroup
	targets []link.Target
	meshes  []*link.Mesh

	client *poll.Loop
	window int    // messages of a room that may be on their way
	frame  []byte // what members send

	// Owned by the client's loop.
	rooms []*pathRoom
	dirty []*pathRoom // heard something in this wake-up
	owed  int         // deliveries to come
	done  chan struct{}
}

type pathRoom struct {
	members []*pathMember
	next    int // of the members: who publishes next
	left    int // messages to be published
	owed    int // deliveries to come
	dirty   bool
}

// pathMember is a client's conn.
type pathMember struct {
	path *path
	room *pathRoom
	conn poll.Conn
	open bool
}

const pathPayload = 128

// newPath starts everything and returns when all members are in their rooms. It
// ends with the test.
func newPath(tb testing.TB, rooms, members, window int) *path {
	x := &path{tb: tb, window: window, done: make(chan struct{}, 1)}
	x.frame = append(x.frame, 0x82, 0x80|126, 0, pathPayload, 0, 0, 0, 0) // masked by zeros
	x.frame = append(x.frame, make([]byte, pathPayload)...)
	ctx, stop := context.WithCancel(context.Background())
	x.ctx = ctx
	tb.Cleanup(func() {
		stop()
		x.running.Wait()
	})
	x.shards()
	addr := x.router()
	for _, m := range x.meshes {
		m.Want(x.targets)
	}
	var err error
	if x.client, err = poll.New(poll.Config{Turn: x.turn}); err != nil {
		tb.Fatal(err)
	}
	x.goes(x.client.Run)
	x.client.Post(func() { x.owed = rooms * members }) // the answers to handshakes
	for i := range rooms {
		x.join(addr, i, members)
	}
	x.wait()
	return x
}

func (x *path) goes(run func(context.Context) error) { x.running.Go(func() { _ = run(x.ctx) }) }

func (x *path) shards() {
	names := []proto.NodeName{proto.MakeNodeName("s1", 1), proto.MakeNodeName("s2", 2)}
	rows := make([]shard.Row, proto.Partitions)
	for p := range rows {
		o := p % 2
		rows[p] = shard.Row{Partition: proto.Partition(p), Row: partition.Row{
			Owner: names[o], Followers: []proto.NodeName{names[1-o]}, Term: 1, Since: 1,
		}}
	}
	for _, name := range names {
		s, err := shard.New(shard.Config{Self: name, Lanes: 1, HistoryMessages: 100, WindowBytes: -1})
		if err != nil {
			x.tb.Fatal(err)
		}
		s.UseMesh(x.mesh(link.Config{Self: name, Role: proto.RoleShard}, s.Lanes()))
		s.SetTable(rows)
		x.goes(s.Run)
	}
}

// router starts the router and returns where its clients connect to.
func (x *path) router() string {
	self := proto.MakeNodeName("r1", 3)
	r, err := router.New(router.Config{Self: self, Lanes: 1})
	if err != nil {
		x.tb.Fatal(err)
	}
	r.UseMesh(x.mesh(link.Config{Self: self, Role: proto.RoleRouter}, r.Lanes()))
	rows := make([]router.Row, proto.Partitions)
	for p := range rows {
		rows[p] = router.Row{Partition: proto.Partition(p), Owner: x.targets[p%2].Name, Term: 1}
	}
	r.SetTable(rows)
	ln := x.listen()
	x.goes(func(ctx context.Context) error { return r.Run(ctx, ln) })
	return ln.Addr().String()
}

func (x *path) mesh(cfg link.Config, lanes []link.Lane) *link.Mesh {
	m, err := link.NewMesh(cfg, lanes)
	if err != nil {
		x.tb.Fatal(err)
	}
	ln := x.listen()
	x.targets = append(x.targets, link.Target{Name: cfg.Self, Role: cfg.Role, Addr: ln.Addr().String(), Lanes: 1})
	x.meshes = append(x.meshes, m)
	x.goes(m.Run)
	x.goes(func(ctx context.Context) error { return m.Serve(ctx, ln) })
	return m
}

func (x *path) listen() net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.tb.Fatal(err)
	}
	return ln
}

// join has a room's members connect, and say what they want.
func (x *path) join(addr string, number, members int) {
	r := &pathRoom{}
	request := fmt.Appendf(nil, "GET /ws?room=room-%d HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", number, addr)
	for range members {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			x.tb.Fatal(err)
		}
		s, err := poll.Take(c)
		if err != nil {
			x.tb.Fatal(err)
		}
		m := &pathMember{path: x, room: r}
		r.members = append(r.members, m)
		x.client.Post(func() {
			if err := x.client.Open(&m.conn, s, m); err != nil {
				x.tb.Error(err)
			}
			m.conn.Write(request)
		})
	}
	x.client.Post(func() { x.rooms = append(x.rooms, r) })
}

// wait waits for what is owed.
func (x *path) wait() {
	select {
	case <-x.done:
	case <-time.After(time.Minute):
		x.tb.Fatal("no answer within a minute")
	}
}

// run publishes n messages, in each room as many as in the others, and waits
// until every member has all of its room's.
func (x *path) run(n int) {
	x.client.Post(func() {
		for i, r := range x.rooms {
			r.left = (n + i) / len(x.rooms)
			x.owed += r.left * len(r.members)
			x.publish(r)
		}
	})
	x.wait()
}

// publish has a room's members publish as much as its window allows.
func (x *path) publish(r *pathRoom) {
	for ; r.left > 0 && r.owed <= (x.window-1)*len(r.members); r.left-- {
		m := r.members[r.next]
		r.next = (r.next + 1) % len(r.members)
		if n := m.conn.Write(x.frame); n < len(x.frame) {
			x.tb.Errorf("a write took %d of %d bytes", n, len(x.frame))
		}
		r.owed += len(r.members)
	}
}

// turn ends a wake-up of the clients.
func (x *path) turn() {
	if len(x.dirty) == 0 {
		return
	}
	for _, r := range x.dirty {
		r.dirty = false
		x.publish(r)
	}
	x.dirty = x.dirty[:0]
	if x.owed == 0 {
		x.done <- struct{}{}
	}
}

// Data counts what a member hears.
func (m *pathMember) Data(b []byte) int {
	x, r, n := m.path, m.room, 0
	if !m.open {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return 0
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
			x.tb.Errorf("handshake: %s", b[:end])
		}
		m.open, n = true, end+4
		x.owed--
	}
	const size = 4 + pathPayload
	for ; len(b)-n >= size; n += size {
		r.owed--
		x.owed--
	}
	if !r.dirty {
		r.dirty = true
		x.dirty = append(x.dirty, r)
	}
	return n
}

func (m *pathMember) EOF()      { m.Broken(net.ErrClosed) }
func (m *pathMember) Writable() {}

func (m *pathMember) Broken(err error) {
	if m.path.ctx.Err() == nil {
		m.path.tb.Errorf("conn: %v", err)
	}
}

// TestPathAllocatesNothing: on its whole way a message costs no allocation, in
// none of the four processes that this one stands for. What allocates with time
// and not by the message is let pass. Histories are short, so that they are full soon.
func TestPathAllocatesNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the twin of epoll is not what is measured")
	}
	for _, c := range []struct {
		name                   string
		rooms, members, window int
	}{{"one room", 1, 50, 64}, {"many rooms", 40, 5, 1}} {
		t.Run(c.name, func(t *testing.T) {
			x := newPath(t, c.rooms, c.members, c.window)
			x.run(10_000) // until histories are full, and every buffer is as large as it gets
			var before, after runtime.MemStats
			const n = 5_000
			runtime.ReadMemStats(&before)
			x.run(n)
			runtime.ReadMemStats(&after)
			t.Logf("%d allocations, %d bytes for %d messages", after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc, n)
			if after.Mallocs-before.Mallocs > n/20 {
				t.Errorf("%d allocations for %d messages", after.Mallocs-before.Mallocs, n)
			}
		})
	}
}

// BenchmarkPath is the whole way of a message with a follower; per message, with
// the clients' own part.
func BenchmarkPath(b *testing.B) {
	for _, c := range []struct {
		name                   string
		rooms, members, window int
	}{{"one room of 100", 1, 100, 64}, {"200 rooms of 5", 200, 5, 1}} {
		b.Run(c.name, func(b *testing.B) {
			x := newPath(b, c.rooms, c.members, c.window)
			x.run(20 * c.rooms * c.window)
			b.ReportAllocs()
			b.ResetTimer()
			x.run(b.N)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.members), "ns/delivery")
		})
	}
}
