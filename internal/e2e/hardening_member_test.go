//go:build linux

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roomring/roomring/internal/loadgen"
)

// testBlackHole opens a conn that is never heard again.
func testBlackHole(t *testing.T) {
	r, _ := pair(t, nil, nil)
	const holes = 20
	for range holes {
		upgrade(t, r.listen, "hole")
	}
	began := time.Now()
	first := eventually(t, "the first is gone", 40*time.Second, func() bool { return r.metrics(t)["roomring_router_silent_total"] > 0 })
	eventually(t, "all are gone", 40*time.Second, func() bool { return r.metrics(t)["roomring_router_silent_total"] == holes })
	took := time.Since(began)
	t.Logf("%d clients that answer no ping: gone after %.1f to %.1f s", holes, first.Seconds(), took.Seconds())
	if first < 19*time.Second || took > 36*time.Second {
		t.Error("want 20 to 33 s")
	}
}

// testTakesNothing lets a reader stop when its room is not busy enough to push it off the tail.
func testTakesNothing(t *testing.T) {
	r, _ := pair(t, nil, nil)
	const size, messages = 32 << 10, 200 // 6.4 MB: more than the kernel takes, less than the tail
	stalled := stall(t, r.listen, "sleepy")
	other := dial(t, r.listen, "sleepy")
	body := strings.Repeat("x", size)
	for i := range messages {
		other.say(body)
		other.waitHeard(i+1, 10*time.Second)
	}
	took := eventually(t, "it is closed", 60*time.Second, func() bool { return r.metrics(t)["roomring_router_slow_total"] == 1 })
	end := drainStalled(stalled)
	t.Logf("a reader that takes nothing is closed after %.1f s (%s)", took.Seconds(), end)
	if took > 35*time.Second || end.code != 4008 && !end.reset() {
		t.Error("want 4008 after at most 30 s")
	}
}

// testOneStalled measures the latency of a thousand members with and without one that is stalled
// among them, in turns.
func testOneStalled(t *testing.T) {
	const pairs = 5
	r, _ := pair(t, nil, nil)
	var with, without []float64
	for i := range pairs {
		without = append(without, p99(t, r, fmt.Sprint("without", i)))
		room := fmt.Sprint("with", i)
		stalled := stallBehind(t, r, room)
		with = append(with, p99(t, r, room))
		stalled.Close()
	}
	slow := r.metrics(t)["roomring_router_slow_total"]
	t.Logf("p99 of 1000 members in ms, in turns: without %.1f, with one stalled %.1f; %v of them were closed as slow", without, with, slow)
	slices.Sort(with)
	slices.Sort(without)
	if with[pairs/2] > without[pairs-1]*1.25+2 {
		t.Error("the median with a stalled reader is outside the spread without")
	}
}

// stallBehind has a member of a room that the kernel takes nothing more for, but the tail still holds.
func stallBehind(t *testing.T, r *node, room string) net.Conn {
	t.Helper()
	stalled := stall(t, r.listen, room)
	m := dial(t, r.listen, room)
	body := strings.Repeat("x", 32<<10)
	for i := range 160 {
		m.say(body)
		m.waitHeard(i+1, 10*time.Second)
	}
	if behind := r.metrics(t)["roomring_hub_lagging"]; behind < 1 {
		t.Logf("nobody is behind in %s: the kernel took it all", room)
	}
	m.conn.Close()
	return stalled
}

// p99 is that of 1000 members in one room at 15,000 deliveries per second, in milliseconds.
func p99(t *testing.T, r *node, room string) float64 {
	t.Helper()
	report, err := loadgen.Run(t.Context(), loadgen.Config{
		URLs: []string{"ws://" + r.listen + "/ws?room=" + room}, Rooms: 1, Members: 1000, Publishers: 10, Rate: 15_000,
		Warm: 500 * time.Millisecond, For: 3 * time.Second, Quiet: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed() {
		t.Errorf("%s: %+v", room, report)
	}
	return report.P99
}

// testManyStalled has stalled readers in many rooms want more of the tails than a router gives.
func testManyStalled(t *testing.T) {
	const limit, size = 128 << 20, 32 << 10
	r, _ := pair(t, []string{"--memory-limit", "128MiB"}, []string{"--memory-limit", "512MiB"})
	start, stop := r.memory(t), r.watch(t)
	most := 0.0
	round := func(first, rooms int) {
		var stalled []net.Conn
		for i := range rooms {
			room := fmt.Sprint("stalled", first+i)
			stalled = append(stalled, stall(t, r.listen, room))
			m := dial(t, r.listen, room)
			body := strings.Repeat("x", size)
			for k := range 150 { // 4.7 MB
				m.say(body)
				m.waitHeard(k+1, 20*time.Second)
			}
			most = max(most, r.metrics(t)["roomring_hub_tail_bytes"])
			m.conn.Close()
		}
		for _, c := range stalled {
			c.Close()
		}
	}
	round(0, 30)
	short := stop()
	stop = r.watch(t)
	round(30, 120)
	long := stop()
	slow := r.metrics(t)["roomring_router_slow_total"]
	t.Logf("tails held at most %s of %s; memory %s at first, %s with 30 stalled rooms, %s with 120 more (limit %s); %v were closed as slow",
		mega(int64(most)), mega(limit/4), mega(start), mega(short), mega(long), mega(limit), slow)
	if most > limit/4*1.1 || long > limit || float64(long) > float64(short)*1.3+16<<20 {
		t.Error("that is not bounded")
	}
}

// testPublishFlood has clients publish as fast as they can without ever reading.
func testPublishFlood(t *testing.T) {
	r, s := pair(t, []string{"--memory-limit", "256MiB"}, []string{"--memory-limit", "256MiB"})
	flood := func(lasts time.Duration) (routerMost, shardMost, sent int64) {
		stopR, stopS := r.watch(t), s.watch(t)
		until := time.Now().Add(lasts)
		var group sync.WaitGroup
		var mu sync.Mutex
		for i := range 40 {
			group.Go(func() {
				n := floodOne(r.listen, fmt.Sprint("flood", i%10), until)
				mu.Lock()
				sent += n
				mu.Unlock()
			})
		}
		group.Wait()
		return stopR(), stopS(), sent
	}
	r1, s1, sent1 := flood(2 * time.Second)
	r2, s2, sent2 := flood(20 * time.Second)
	t.Logf("in 2 s: router %s, shard %s, %s sent; in 20 s: router %s, shard %s, %s sent", mega(r1), mega(s1), mega(sent1), mega(r2), mega(s2), mega(sent2))
	if r2 > 256<<20 || s2 > 256<<20 {
		t.Error("over the memory limit")
	}
	m := dial(t, r.listen, "afterwards")
	m.echo("still serves", 10*time.Second)
}

// floodOne publishes until a time, through a new conn whenever one is closed.
func floodOne(address, room string, until time.Time) (sent int64) {
	frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(strings.Repeat("y", 8<<10)))))
	batch := []byte(strings.Repeat(string(frame), 8))
	for time.Now().Before(until) {
		conn, err := handshake(address, "room="+room)
		if err != nil {
			return sent
		}
		conn.SetWriteDeadline(until)
		for {
			n, err := conn.Write(batch)
			sent += int64(n)
			if err != nil {
				break
			}
		}
		conn.Close()
	}
	return sent
}

// testRoomFlood fills more rooms than a shard can remember.
func testRoomFlood(t *testing.T) {
	const limit = 160 << 20
	r, s := pair(t, nil, []string{"--memory-limit", "160MiB"})
	stop := s.watch(t)
	body := strings.Repeat("z", 32<<10)
	var group sync.WaitGroup
	const lanes, rooms, each = 8, 60, 24 // 8 × 60 rooms of 768 KB: 360 MB
	for lane := range lanes {
		group.Go(func() {
			for i := range rooms {
				m := dial(t, r.listen, fmt.Sprintf("flood-%d-%d", lane, i))
				for k := range each {
					m.say(body)
					m.waitHeard(k+1-4, 20*time.Second)
				}
				m.waitHeard(each, 20*time.Second)
				m.conn.Close()
			}
		})
	}
	group.Wait()
	most := stop()
	metrics := s.metrics(t)
	t.Logf("%d rooms of %s: shard memory at most %s (limit %s), history %s, %v chunks shed, %v rooms", lanes*rooms, mega(each*int64(len(body))),
		mega(most), mega(limit), mega(int64(metrics["roomring_shard_history_bytes"])), metrics["roomring_shard_shed_total"], metrics["roomring_shard_rooms"])
	if most > limit*5/4 || metrics["roomring_shard_shed_total"] == 0 {
		t.Error("that is not bounded")
	}
	newest := dial(t, r.listen, fmt.Sprintf("flood-0-%d", rooms-1), "since=0")
	newest.waitHeard(1, 10*time.Second)
	oldest := r.room(t, "flood-0-0")
	t.Logf("the newest room gave %d messages at once; the oldest keeps %d", len(newest.messages()), oldest.Kept)
}
