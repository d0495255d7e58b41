package link

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomring/roomring/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLoopback is the one test over real sockets, on epoll where there is one:
// frames of all sizes both ways in order, a link that is closed comes back.
func TestLoopback(t *testing.T) {
	d, a := routerConfig(), shardConfig()
	d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA}
	r, s := launch(t, nil, "127.0.0.1", d, 2), launch(t, nil, "127.0.0.1", a, 1)
	r.mesh.Want([]Target{s.target()})
	up := func() bool { return r.links() == 2 && s.links() == 2 }
	await(t, time.Minute, "links up", up)

	const frames = 500
	var got [2]atomic.Int64
	for i, way := range [2][2]*station{{r, s}, {s, r}} {
		from, to := way[0], way[1]
		for _, y := range to.lanes {
			next := map[int]int{} // by link
			y.on(func() {
				y.frame = func(l *Link, _ proto.FrameType, body []byte) {
					k := l.Peer().Index
					if n := int(binary.BigEndian.Uint32(body)); n != next[k] {
						t.Errorf("link %d: frame %d came as number %d", k, n, next[k])
					}
					next[k]++
					got[i].Add(1)
				}
			})
		}
		for _, x := range from.lanes {
			sent := map[*Link]int{}
			x.on(func() {
				x.turn = func() {
					for _, l := range x.links {
						for ; sent[l] < frames && l.Space() > 0; sent[l]++ {
							l.Data(func(b []byte) []byte { return appendNumbered(b, proto.FrameDeliver, sent[l], sent[l]*sent[l]%200_000) })
						}
					}
				}
			})
		}
	}
	await(t, time.Minute, "all frames there", func() bool { return got[0].Load() == 2*frames && got[1].Load() == 2*frames })

	for _, x := range append(r.lanes, s.lanes...) {
		x.on(func() { x.turn = nil })
	}
	s.lanes[0].on(func() {
		for _, l := range s.lanes[0].links {
			l.Close("test")
		}
	})
	await(t, time.Minute, "links back", func() bool { return up() && r.mesh.Stats().Reconnects == 2 })
}

// BenchmarkLink is 128-byte frames over one link on loopback, from a lane's
// Turn to the other lane's Frame.
func BenchmarkLink(b *testing.B) {
	r, s := launch(b, nil, "127.0.0.1", routerConfig(), 1), launch(b, nil, "127.0.0.1", shardConfig(), 1)
	r.mesh.Want([]Target{s.target()})
	await(b, 5*time.Second, "link up", func() bool { return r.links() == 1 && s.links() == 1 })
	var got atomic.Int64
	done := make(chan struct{})
	frame := appendNumbered(nil, proto.FrameDeliver, 0, 128)
	s.lanes[0].on(func() {
		s.lanes[0].frame = func(*Link, proto.FrameType, []byte) {
			if got.Add(1) == int64(b.N) {
				close(done)
			}
		}
	})
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	b.ResetTimer()
	x := r.lanes[0]
	x.on(func() {
		sent := 0
		var link *Link
		for _, link = range x.links {
		}
		appendOne := func(b []byte) []byte { return append(b, frame...) }
		x.turn = func() {
			n := 0
			for ; n < 512 && sent < b.N && link.Space() > 0; n++ {
				link.Data(appendOne)
				sent++
			}
			if n == 512 { // else a wake-up comes with the space
				x.loop.Post(again)
			}
		}
	})
	<-done
}

func again() {}
