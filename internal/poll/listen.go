package poll

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second

	// acceptsPerWake bounds what one wake-up accepts, so that a storm of new
	// connections spreads over the loops that share a listener and does not
	// hold up those that are there.
	acceptsPerWake = 8
)

// listening is a listener that a loop accepts from.
type listening struct {
	// Set by Listen, then only read.
	loop    *Loop
	ln      net.Listener
	accept  func(Socket)
	stopped chan struct{}

	// Owned by the loop's goroutine.
	wait  time.Duration // of the last backoff; 0 after a success
	retry *time.Timer
	raw   rawListener // empty: a goroutine accepts
}

// Listen accepts connections from ln on this loop, one accept call each, until
// StopListening or until ln is closed by its owner. A loop has one listener at
// most. Several loops may listen on the same *net.TCPListener: on Linux the
// kernel wakes one of them. A panic in accept is not contained.
//
// When accepting fails, mostly for lack of descriptors, the listener is left
// alone for 5 ms, then twice as long up to 1 s, until it succeeds again.
func (l *Loop) Listen(ln net.Listener, accept func(Socket)) error {
	if l.listen != nil {
		return errors.New("loop is listening already")
	}
	a := &listening{loop: l, ln: ln, accept: accept, stopped: make(chan struct{})}
	l.listen = a
	if t, ok := ln.(*net.TCPListener); ok && l.ep != nil {
		if err := a.watch(t); err != nil {
			l.listen = nil
			return err
		}
		return nil
	}
	l.goroutines.Add(1)
	go a.run()
	return nil
}

// StopListening stops accepting. A listener that goroutines accept from (the
// portable twin, or on Linux one that is no *net.TCPListener) is closed, since
// a waiting Accept cannot be ended otherwise; any other stays open.
func (l *Loop) StopListening() {
	a := l.listen
	if a == nil {
		return
	}
	l.listen = nil
	close(a.stopped)
	if a.retry != nil {
		a.retry.Stop()
	}
	if !a.unwatch() {
		_ = a.ln.Close()
	}
}

// next returns how long to leave the listener alone, and tells the owner.
func (a *listening) next(err error) time.Duration {
	a.wait = min(max(2*a.wait, minBackoff), maxBackoff)
	a.loop.stats.Backoffs++
	if a.loop.cfg.AcceptFailed != nil {
		a.loop.cfg.AcceptFailed(err, a.wait)
	}
	return a.wait
}

// take hands an accepted socket to the owner. It does not when the listener
// was stopped in the meantime.
func (a *listening) take(s Socket) {
	if a.loop.listen != a {
		s.Close()
		return
	}
	a.wait = 0
	a.loop.stats.Accepts++
	a.accept(s)
}

// run accepts in a goroutine, one connection at a time: the next is accepted
// when the loop has taken the last, so nothing queues here.
func (a *listening) run() {
	defer a.loop.goroutines.Done()
	for {
		c, err := a.ln.Accept()
		switch {
		case err == nil:
			a.offer(c)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			a.failed(err)
		}
		select {
		case <-a.stopped:
			return
		default:
		}
	}
}

// offer has the loop take c, and closes it when the loop no longer can.
func (a *listening) offer(c net.Conn) {
	s := Socket{stream: newStream(c)}
	if a.loop.ep != nil {
		if t, err := Take(c); err == nil {
			s = t
		}
	}
	var taken atomic.Bool
	done := make(chan struct{})
	a.loop.Post(func() {
		defer close(done)
		if taken.CompareAndSwap(false, true) {
			a.take(s)
		}
	})
	select {
	case <-done:
	case <-a.stopped:
		if taken.CompareAndSwap(false, true) {
			s.Close()
		}
	}
}

// failed tells the loop and waits before the next try.
func (a *listening) failed(err error) {
	wait := make(chan time.Duration, 1)
	a.loop.Post(func() { wait <- a.next(err) })
	select {
	case d := <-wait:
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-a.stopped:
		}
	case <-a.stopped:
	}
}
