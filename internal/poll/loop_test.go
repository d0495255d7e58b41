package poll

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/memnet"
)

func TestPostsRunInOrderAndTurnEndsEachWakeUp(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		var order []int
		var turns uint64
		r := b.start(t, Config{Turn: func() { turns++ }})
		const n = 1000
		for i := range n {
			r.loop.Post(func() { order = append(order, i) })
		}
		r.do(func() {
			for i, v := range order {
				if i != v {
					t.Fatalf("post %d ran as number %d", v, i)
				}
			}
			if s := r.loop.Stats(); len(order) != n || s.Wakes != turns+1 {
				t.Errorf("%d posts ran; %d turns in %d wake-ups", len(order), turns, s.Wakes)
			}
		})
	})
}

// A function that posts itself again does not keep out anybody else.
func TestPostFromTheLoop(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		r := b.start(t, Config{})
		n := 0
		done := make(chan struct{})
		var again func()
		again = func() {
			if n++; n == 10_000 {
				close(done)
				return
			}
			r.loop.Post(again)
		}
		r.loop.Post(again)
		await(t, done)
	})
}

func TestTick(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ticks := make(chan time.Time, 1000)
		b.start(t, Config{TickEvery: 5 * time.Millisecond, Tick: func(now time.Time) { ticks <- now }})
		first := await(t, ticks)
		await(t, ticks)
		if third := await(t, ticks); third.Sub(first) < 5*time.Millisecond {
			t.Errorf("three ticks in %v", third.Sub(first))
		}
	})
}

func TestAnEndedContextGivesEverythingBack(t *testing.T) {
	for _, portable := range []bool{false, true} {
		l, err := New(Config{Portable: portable, Tick: func(time.Time) {}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Run(ctx); err != context.Canceled {
			t.Errorf("run = %v", err)
		}
		l.Post(func() { t.Error("posted after the end") })
	}
}

// The twin needs nothing but channels and time: an hour of a conversation
// over a slow network passes at once, and nobody stays behind.
func TestTwinInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		n.Delay("10.0.0.1", "127.0.0.1", time.Minute)
		ln, err := n.Listen("10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ticks := 0
		l, err := New(Config{Portable: true, TickEvery: time.Second, Tick: func(time.Time) { ticks++ }})
		if err != nil {
			t.Fatal(err)
		}
		p := newProbe()
		p.data = func(p *probe, b []byte) int { return p.conn.Write(b) }
		if err := l.Listen(ln, func(s Socket) { l.Open(&p.conn, s, p) }); err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := n.DialContext(ctx, "10.0.0.1:80")
			if err != nil {
				t.Error(err)
				return
			}
			start := time.Now()
			send(t, c, "echo")
			receive(t, c, "echo")
			if took := time.Since(start); took != time.Minute {
				t.Errorf("the echo took %v", took)
			}
		}()
		if err := l.Run(ctx); err != context.DeadlineExceeded {
			t.Errorf("run = %v", err)
		}
		if ticks < 3598 || ticks > 3600 {
			t.Errorf("%d ticks in an hour", ticks)
		}
	})
}

// Thousands of posts and socket events, while the loop parks in between, with
// one processor and with two: every wake-up that got lost would hang this.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, procs := range []int{1, 2} {
		each(t, func(t *testing.T, b backend) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			r := b.start(t, Config{})
			var wg sync.WaitGroup
			for range 8 {
				near, far := b.pair(t)
				p := newProbe()
				p.data = func(p *probe, b []byte) int { return p.conn.Write(b) }
				r.open(p, near)
				wg.Go(func() { pingPong(t, far, 500) })
				wg.Go(func() { postAndWait(r.loop, 500) })
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			await(t, done)
		})
	}
}

func pingPong(t *testing.T, c net.Conn, n int) {
	b := make([]byte, 1)
	for range n {
		if _, err := c.Write(b); err != nil {
			t.Error(err)
			return
		}
		if _, err := c.Read(b); err != nil {
			t.Error(err)
			return
		}
	}
}

func postAndWait(l *Loop, n int) {
	done := make(chan struct{})
	for range n {
		l.Post(func() { done <- struct{}{} })
		<-done
	}
}
