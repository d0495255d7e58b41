package poll

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Config says how a Loop runs. The zero value works.
type Config struct {
	// Portable drives everything by goroutines, on Linux too. Tests need it
	// inside synctest bubbles, where no real descriptor may be waited for.
	// Systems other than Linux always do so.
	Portable bool

	// Turn is called once at the end of each wake-up. If nil, nothing is.
	Turn func()

	// Tick is called every TickEvery, in a wake-up just before Turn. Ticks
	// that were missed are not made up for. If nil, there is no timer.
	Tick func(now time.Time)

	// TickEvery is the time between two Ticks. If zero, 50 ms.
	TickEvery time.Duration

	// Panic is told the value of a panic that was contained. It is called
	// while the panicking frames are still on the stack, so debug.Stack shows
	// them. If nil, the panic is only counted.
	Panic func(v any)

	// AcceptFailed is told that accepting failed (descriptors or memory are
	// exhausted, as a rule) and is tried again after wait: 5 ms, doubling to
	// 1 s, from the start after a success. If nil, nobody is told.
	AcceptFailed func(err error, wait time.Duration)
}

// Stats counts what a Loop did since New.
type Stats struct {
	Conns       int    `metric:"gauge" help:"Connections open."`
	Wakes       uint64 `help:"Wake-ups, each ending in one turn."`
	Parks       uint64 `help:"Wake-ups that had to wait first."`
	Reads       uint64 `help:"Reads that brought bytes."`
	BytesIn     uint64 `name:"read_bytes" help:"Bytes read."`
	Writes      uint64 `help:"Writes that took bytes."`
	BytesOut    uint64 `name:"written_bytes" help:"Bytes taken by writes."`
	ShortWrites uint64 `help:"Writes that took less than everything."`
	Accepts     uint64 `help:"Connections accepted."`
	Backoffs    uint64 `help:"Times that accepting failed and had to wait."`
	Broken      uint64 `help:"Connections that broke."`
	Panics      uint64 `help:"Panics contained."`
}

// yieldEvery is how long a loop that always finds work goes on before it lets
// other goroutines run: with one processor they would wait for the scheduler's
// own preemption, 10 ms each time.
const yieldEvery = time.Millisecond

// Loop drives connections from one goroutine, the one that calls Run. All
// methods but Post must be called on that goroutine, or before Run by the
// goroutine that will call it.
type Loop struct {
	// Set by New, then only read.
	cfg  Config
	ep   *epoll        // nil: portable
	wake chan struct{} // portable only; holds one token

	// Owned by the loop's goroutine.
	now     time.Time
	yielded time.Time // when others could last run
	stats   Stats
	current *Conn // whose handler is running; nil when it was closed or released meanwhile
	later   []deferred
	spare   []deferred // the slice that later swaps with
	streams map[*stream]struct{}
	listen  *listening // nil: not listening
	ended   bool       // ctx has ended
	tick    bool       // Tick is due

	mu     sync.Mutex
	posts  []func()  // run in order, in the next wake-up
	events []*stream // have something for us
	parked bool      // the loop waits and must be woken
	closed bool      // Run has returned

	// Swapped with the two above, owned by the loop's goroutine.
	posts2  []func()
	events2 []*stream

	goroutines sync.WaitGroup // of streams and listeners on this loop
}

// A deferred is a connection that needs attention outside of any event: left
// over bytes are to be handed over (err nil), or a write failed with err. It
// names the socket, not the Conn: a Conn that was released belongs to another
// goroutine and must not even be looked at.
type deferred struct {
	fd  int32
	s   *stream
	err error
}

// New returns a Loop that does nothing until Run. It holds descriptors (on
// Linux, unless Portable) from here on; Run gives them back, even when its
// context has already ended.
func New(cfg Config) (*Loop, error) {
	if cfg.TickEvery == 0 {
		cfg.TickEvery = 50 * time.Millisecond
	}
	l := &Loop{cfg: cfg, wake: make(chan struct{}, 1), streams: map[*stream]struct{}{}, now: time.Now()}
	if cfg.Portable || !haveEpoll {
		return l, nil
	}
	every := cfg.TickEvery
	if cfg.Tick == nil {
		every = 0
	}
	ep, err := newEpoll(l, every)
	if err != nil {
		return nil, err
	}
	l.ep = ep
	return l, nil
}

// Run drives the loop until ctx ends and returns the context's error, or
// before that the error that made waiting impossible. When it returns, every
// connection is closed (handlers are not told), every listener stopped, and
// every goroutine that the loop started has ended. Bytes that Write has taken
// are still sent: by the kernel, or by the twin within a second.
func (l *Loop) Run(ctx context.Context) error {
	stop := l.endWith(ctx)
	defer stop()
	defer l.shutdown()
	wait := l.waitChannel
	if l.ep != nil {
		wait = l.ep.wait
	} else if l.cfg.Tick != nil {
		ticker := time.NewTicker(l.cfg.TickEvery)
		defer ticker.Stop()
		wait = func() error { return l.waitTicker(ticker.C) }
	}
	l.yielded = time.Now()
	for {
		if err := wait(); err != nil {
			return err
		}
		l.wakeUp()
		if l.ended {
			return context.Cause(ctx)
		}
	}
}

// endWith makes the end of ctx end the loop. The returned function undoes it
// and waits until nothing of it is left.
func (l *Loop) endWith(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		l.Post(func() { l.ended = true })
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// wakeUp does all the work that is there, once.
func (l *Loop) wakeUp() {
	l.now = time.Now()
	l.stats.Wakes++
	posts, events := l.take()
	if l.ep != nil {
		l.ep.dispatch()
	}
	for i, s := range events {
		l.dispatchStream(s)
		events[i] = nil
	}
	for i, f := range posts {
		f()
		posts[i] = nil
	}
	// After posts, so that what they opened or resumed is not a wake-up late.
	l.attend()
	if l.tick {
		l.tick = false
		l.cfg.Tick(l.now)
	}
	if l.cfg.Turn != nil {
		l.cfg.Turn()
	}
}

// mustYield reports whether other goroutines have waited long enough.
func (l *Loop) mustYield() bool { return l.now.Sub(l.yielded) >= yieldEvery }

// take returns the functions and streams that wait, and leaves empty slices.
func (l *Loop) take() ([]func(), []*stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = false
	posts, events := l.posts, l.events
	l.posts, l.events = l.posts2[:0], l.events2[:0]
	l.posts2, l.events2 = posts, events
	return posts, events
}

// park says that the loop is about to wait; it reports false when there is
// work already. From a true on, whoever brings work wakes the loop.
func (l *Loop) park() bool {
	if len(l.later) > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = len(l.posts) == 0 && len(l.events) == 0
	return l.parked
}

func (l *Loop) waitChannel() error { return l.waitTicker(nil) }

// waitTicker waits for work or a tick, without epoll.
func (l *Loop) waitTicker(ticks <-chan time.Time) error {
	if l.park() {
		l.stats.Parks++
		select {
		case <-l.wake:
		case <-ticks:
			l.tick = true
		}
		l.yielded = time.Now()
		return nil
	}
	if l.mustYield() {
		l.yielded = l.now
		runtime.Gosched()
	}
	select { // a loop that never parks must still tick
	case <-ticks:
		l.tick = true
	default:
	}
	return nil
}

// Post has f run on the loop's goroutine, after the functions posted before
// it. It may be called from any goroutine, never waits, and may be called on
// the loop itself: then f runs in the next wake-up, at once after this one.
// After Run has returned f is dropped.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.posts = append(l.posts, f)
	l.unpark()
}

// enqueue tells the loop that s has something for it.
func (l *Loop) enqueue(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.events = append(l.events, s)
	l.unpark()
}

// unpark wakes a loop that waits. l.mu is held: the descriptor that it writes
// to is closed under it.
func (l *Loop) unpark() {
	if !l.parked {
		return
	}
	l.parked = false
	if l.ep != nil {
		l.ep.wake()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Now returns the time at which this wake-up began.
func (l *Loop) Now() time.Time { return l.now }

// Stats returns what the loop has done so far.
func (l *Loop) Stats() Stats { return l.stats }

// attend sees to the connections that wait for something other than an event.
// What handlers add meanwhile waits for the next wake-up, so that a handler
// that resumes itself over and over cannot hold the loop.
func (l *Loop) attend() {
	if len(l.later) == 0 {
		return
	}
	list := l.later
	l.later = l.spare[:0]
	for i, d := range list {
		list[i] = deferred{}
		if c := l.find(d.fd, d.s); c != nil {
			l.attendTo(c, d.err)
		}
	}
	l.spare = list
}

func (l *Loop) attendTo(c *Conn, err error) {
	defer l.contain()
	l.current = c
	switch {
	case err != nil:
		if c.flags&failed != 0 {
			l.fail(c, err)
		}
	case c.flags&queued != 0:
		c.flags &^= queued
		if c.flags&(paused|failed) == 0 {
			l.resume(c)
		}
	}
}

// resume hands over what is left over, then goes on reading.
func (l *Loop) resume(c *Conn) {
	if len(c.rest) > 0 && !l.deliver(c, c.rest) {
		return
	}
	if c.stream == nil {
		l.current = nil
		c.rearm()
	} else if c.stream.ready {
		l.readStream(c)
	}
}

// find returns the Conn that drives a socket on this loop, nil if none does.
func (l *Loop) find(fd int32, s *stream) *Conn {
	if s != nil {
		return s.ownedBy(l)
	}
	return l.ep.find(fd)
}

// deliver hands b to the handler of the current connection and keeps what it
// leaves. It reports whether the connection is still open on this loop; if
// not, c must not be looked at any more.
func (l *Loop) deliver(c *Conn, b []byte) bool {
	c.flags |= inData
	n := c.handler.Data(b)
	if l.current != c {
		return false
	}
	c.flags &^= inData
	c.keep(b[n:])
	return true
}

// fail closes the current connection and tells its handler why.
func (l *Loop) fail(c *Conn, err error) {
	h := c.handler
	c.Close()
	l.stats.Broken++
	h.Broken(err)
}

// contain ends a callback: deferred around each, it keeps a panic from
// spreading beyond the connection whose handler it was.
func (l *Loop) contain() {
	c := l.current
	l.current = nil
	if v := recover(); v != nil {
		l.panicked(c, v)
	}
}

// panicked counts and reports a panic, and closes the connection if the
// handler has not done so itself.
func (l *Loop) panicked(c *Conn, v any) {
	l.stats.Panics++
	if l.cfg.Panic != nil {
		l.cfg.Panic(v)
	}
	if c == nil {
		return
	}
	defer l.contain() // Broken of the same handler may well panic too
	l.fail(c, ErrPanic)
}

// shutdown closes everything and waits for all goroutines.
func (l *Loop) shutdown() {
	l.StopListening()
	l.mu.Lock()
	l.closed = true
	l.posts, l.events, l.posts2, l.events2 = nil, nil, nil, nil
	l.mu.Unlock()
	for s := range l.streams {
		if c := s.ownedBy(l); c != nil {
			c.Close()
		}
	}
	if l.ep != nil {
		l.ep.close()
	}
	l.later, l.spare = nil, nil
	l.goroutines.Wait()
}
