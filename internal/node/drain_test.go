package node_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router"
)

// A draining router answers late handshakes 503, closes its clients with 1012
// evenly over the drain time, and then ends by itself.
func TestDrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(2, 1)
		r2 := w.router("r2", router.Config{DrainTime: 20 * time.Second})
		const n = 80
		var members []*member
		for range n {
			members = append(members, w.join("r2", "room=a"))
		}
		stays := w.join("r1", "room=a")
		late, asks, silent := w.dial("r2"), w.dial("r2"), w.dial("r2")
		go silent.listen()
		synctest.Wait()

		began := time.Now()
		close(r2.drain)
		synctest.Wait()
		late.send([]byte(rfc6455.Request("/ws?room=a")))
		if resp := late.response(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("late handshake: %s %v", resp.Status, resp.Header)
		}
		asks.send([]byte("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"))
		resp := asks.response()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || !strings.Contains(string(body), "draining") {
			t.Errorf("healthz of a draining router: %s %q", resp.Status, body)
		}
		fresh := w.dial("r2")
		fresh.send([]byte(rfc6455.Request("/ws?room=a")))
		if resp := fresh.response(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("handshake of a conn that came while draining: %s %v", resp.Status, resp.Header)
		}
		var ends []time.Duration
		for _, m := range members {
			ends = append(ends, m.closed(1012, 30*time.Second).Sub(began))
			if !strings.Contains(m.reason, "draining") {
				t.Errorf("reason %q", m.reason)
			}
		}
		slices.Sort(ends)
		for i, end := range ends {
			if ideal := time.Duration(i) * 20 * time.Second / n; end < ideal-time.Second || end > ideal+time.Second {
				t.Errorf("conn %d of %d was closed after %v", i, n, end)
			}
		}
		silent.closed(0, time.Second)
		<-r2.ended
		took(t, "run returned", began, time.Now(), 19*time.Second, 23*time.Second)
		if c, err := w.net.Host(clientIP).DialContext(t.Context(), r2.Addresses().Listen); err == nil {
			c.Close()
			t.Error("a drained router still accepts")
		}
		stays.say("x")
		if got := stays.take(); len(got) != 1 {
			t.Errorf("the other router's client heard %q", got)
		}
	})
}

// A balancer is told first: during DrainDelay health checks are refused, and nobody else.
func TestDrainDelay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		r2 := w.router("r2", router.Config{DrainDelay: 5 * time.Second, DrainTime: -1})
		stays := w.join("r2", "room=a")
		began := time.Now()
		close(r2.drain)
		time.Sleep(4900 * time.Millisecond)
		if status, _ := w.ask("r2", "GET", "/readyz", ""); status != 503 {
			t.Errorf("/readyz of a router that is about to leave: %d", status)
		}
		asks := w.dial("r2")
		asks.send([]byte("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"))
		if resp := asks.response(); resp.StatusCode != 503 {
			t.Errorf("/healthz of a router that is about to leave: %s", resp.Status)
		}
		late := w.join("r2", "room=a")
		late.say("still here")
		stays.hears("still here")
		for _, m := range []*member{stays, late} {
			took(t, "closed", began, m.closed(1012, 10*time.Second), 5*time.Second, 5*time.Second+100*time.Millisecond)
		}
		<-r2.ended
		late.Close()
	})
}

// What a client said before it was told to go is published.
func TestDrainAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		r2 := w.router("r2", router.Config{DrainTime: -1})
		listener := w.join("r1", "room=a")
		speakers := []*member{w.join("r2", "room=a"), w.join("r2", "room=b")}
		mute := w.open("r2", "room=a") // does not take part in the closing
		speakers[0].send(rfc6455.Frame(finText, "last words"))
		synctest.Wait()
		began := time.Now()
		close(r2.drain)
		for _, m := range speakers {
			took(t, "closed", began, m.closed(1012, time.Second), 0, 0)
		}
		<-r2.ended
		took(t, "run returned", began, time.Now(), 1500*time.Millisecond, 3*time.Second)
		listener.hears("last words")
		mute.Close()
	})
}

// Nor is it lost when the owner is out of reach at that moment.
func TestDrainWaitsForOwners(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		r2 := w.router("r2", router.Config{DrainTime: -1})
		listener, speaker := w.join("r1", "room=a"), w.join("r2", "room=a")
		w.net.Break("10.0.0.1", r2.ip) // and the way back is slow
		w.net.Delay("10.0.0.1", r2.ip, 60*time.Millisecond)
		w.net.Delay(r2.ip, "10.0.0.1", 60*time.Millisecond)
		speaker.say("last words")
		close(r2.drain)
		<-r2.ended
		synctest.Wait()
		listener.hears("last words")
	})
}

// A shard that leaves says which rooms that costs.
func TestDrainSaysWhatIsLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		core, said := observer.New(zap.WarnLevel)
		w.log = []zap.Option{zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, core) })}
		w.cluster(1, 1)
		w.join("r1", "room=a").say("x")
		w.join("r1", "room=b")
		s1 := w.running["s1"]
		close(s1.drain)
		<-s1.ended
		lost := said.FilterMessageSnippet("rooms are lost").FilterField(zap.Int("rooms", 2)).FilterField(zap.Int("partitions", partitions))
		if lost.Len() != 1 {
			t.Errorf("it said %v", said.All())
		}
	})
}

// A node that is stopped in the middle of everything leaves nothing behind.
func TestStopInTheMiddle(t *testing.T) {
	for range 5 {
		inWorldAgain(t, func(t *testing.T, w *world) {
			w.cluster(2, 2)
			w.join("r1", "room=a").say("x")
			for range 50 {
				w.dial("r1").send([]byte(rfc6455.Request("/ws?room=a")))
				w.dial("r2").send([]byte(rfc6455.Request("/ws?room=b")))
			}
			w.running["r1"].stop()
			w.running["s1"].stop()
			w.running["r2"].stop()
		})
	}
}
