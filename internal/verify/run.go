package verify

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// run is one run.
type run struct {
	cfg   Config
	began time.Time
	codec codec
	rooms []*room
	tally *tally

	dialer           loadgen.Dialer
	dialing          chan struct{} // holds one for each handshake under way
	members, writers sync.WaitGroup
	closing          atomic.Bool

	conns, opened                atomic.Int64 // open now; that opened at the start
	published, delivered, unsent atomic.Uint64
	latency                      [4]loadgen.Latencies // in turn, so that goroutines seldom meet
	timeline                     timeline

	telling sync.Mutex // held while Config.Done runs

	mu         sync.Mutex // guards what is below
	dialErrors int
	unopened   int
	firstError error
	event      string

	// Owned by the goroutine of Run.
	start, stop   int64 // of the sending
	lastDelivered uint64
	lastProgress  time.Time
	stopCommands  context.CancelFunc
	commands      sync.WaitGroup
}

const (
	dialers    = 64
	tick       = 50 * time.Millisecond
	firstLines = 10 * time.Second // until all members have heard where they are
	maxSettle  = time.Minute      // for what is still to come
	quietEnd   = time.Second      // when nothing more is to come: so that doubled ones show
	maxSlots   = 4 << 20          // that all rooms remember together, at least
	minSlots   = 1 << 12          // that each room remembers
)

// Run drives the cluster and returns what it found. When ctx ends, it stops sending, waits for what is
// still to come, and judges. The error says what is wrong with cfg.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := newRun(cfg)
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r.connect(ctx, living)
	if r.opened.Load() > 0 {
		r.awaitLines(ctx)
		r.send(ctx, living)
		r.settle()
		r.stopCommands()
	}
	r.closing.Store(true) // what closes from now on closes because we end
	r.judge()
	end()
	r.close()
	return r.report(), nil
}

func newRun(cfg Config) *run {
	var seed [4]byte
	rand.Read(seed[:]) // never fails
	r := &run{cfg: cfg, began: time.Now(), lastProgress: time.Now(), tally: newTally(),
		codec: codec{binary.BigEndian.Uint32(seed[:]), cfg.Size}, dialer: loadgen.Dialer{TLS: cfg.TLS, Mask: seed, Net: cfg.Dial}, dialing: make(chan struct{}, dialers), stopCommands: func() {}}
	r.timeline.limit = maxPoints
	for i := range cfg.Rooms {
		rm := &room{run: r, name: fmt.Sprintf("verify-%08x-%d", r.codec.run, i)}
		rm.judge = newJudge(r.codec, uint32(i), cfg.Members, max(minSlots, maxSlots/cfg.Rooms), r.tally.note)
		for k := range cfg.Members {
			rm.members = append(rm.members, &member{run: r, room: rm, number: k, url: i + k})
		}
		r.rooms = append(r.rooms, rm)
	}
	return r
}

func (r *run) now() int64 { return int64(time.Since(r.began)) }

// took counts a delivery for the percentiles.
func (r *run) took(d int64) {
	r.latency[uint64(d)/64%uint64(len(r.latency))].Add(d)
	r.timeline.add(d)
}

// connect opens all conns, as far as the routers let it. The members live until living ends.
func (r *run) connect(ctx, living context.Context) {
	var tried sync.WaitGroup
	first, give := context.WithCancel(living)
	defer context.AfterFunc(ctx, give)()
	for _, rm := range r.rooms {
		for _, m := range rm.members {
			tried.Add(1)
			r.members.Go(func() { m.live(first, living, tried.Done) })
		}
	}
	done := make(chan struct{})
	go func() {
		tried.Wait()
		close(done)
	}()
	r.wait("connecting", func(time.Duration) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	give()
}

// awaitLines waits until every member with a socket has heard its first line.
func (r *run) awaitLines(ctx context.Context) {
	r.wait("connecting", func(waited time.Duration) bool {
		return waited > firstLines || ctx.Err() != nil || !slices.ContainsFunc(r.rooms, (*room).silent)
	})
}

// send sends what is due, and runs the commands, for as long as the run lasts.
func (r *run) send(ctx, living context.Context) {
	r.start = r.now()
	r.timeline.from(time.Duration(r.start))
	commands, stop := context.WithCancel(living)
	r.stopCommands = func() { stop(); r.commands.Wait() }
	for _, c := range r.cfg.At {
		r.commands.Go(func() {
			if sleep(commands, c.At-time.Duration(r.now()-r.start)) {
				r.command(commands, c)
			}
		})
	}
	if r.cfg.Events != nil {
		go r.events(r.cfg.Events)
	}
	paced := make(chan struct{})
	go func() {
		defer close(paced)
		r.pace(ctx)
	}()
	r.wait("sending", func(time.Duration) bool {
		select {
		case <-paced:
			return true
		default:
			return false
		}
	})
	r.stop = r.now()
}

// pace has the rooms send what is due, in turn, evenly over time.
func (r *run) pace(ctx context.Context) {
	interval := float64(r.cfg.Members) / r.cfg.Rate * 1e9
	due := func(n int) int64 { return r.start + int64(float64(n)*interval) }
	end := r.start + int64(r.cfg.For)
	waiting := map[*room]struct{}{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; r.now() < end || due(n) < end; {
		for rm := range waiting {
			if !rm.retry() {
				delete(waiting, rm)
			}
		}
		for ; due(n) < end && due(n) <= r.now() && ctx.Err() == nil; n++ {
			if rm := r.rooms[n%len(r.rooms)]; rm.publish(due(n)) {
				waiting[rm] = struct{}{}
			}
		}
		timer.Reset(max(time.Duration(min(due(n), end)-r.now()), time.Millisecond/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// settle waits until nothing is owed any more, or nothing has come for Quiet.
func (r *run) settle() {
	last, since := r.delivered.Load(), time.Duration(0)
	r.wait("waiting", func(waited time.Duration) bool {
		if n := r.delivered.Load(); n != last {
			last, since = n, waited
		}
		quiet := waited - since
		return quiet >= r.cfg.Quiet || waited >= maxSettle ||
			quiet >= min(quietEnd, r.cfg.Quiet) && !slices.ContainsFunc(r.rooms, (*room).owing)
	})
}

// wait lets time pass until done, which is told how long it has been, and tells how it goes.
func (r *run) wait(phase string, done func(waited time.Duration) bool) {
	began := time.Now()
	t := time.NewTicker(tick)
	defer t.Stop()
	for !done(time.Since(began)) {
		<-t.C
		r.timeline.tick(time.Duration(r.now()))
		if time.Since(r.lastProgress) >= time.Second {
			r.progress(phase)
		}
	}
}

// progress forgets what is old, and tells how it goes.
func (r *run) progress(phase string) {
	missing := uint64(0)
	for _, rm := range r.rooms {
		missing += rm.sweep(r.now())
	}
	now, delivered := time.Now(), r.delivered.Load()
	rate := float64(delivered-r.lastDelivered) / now.Sub(r.lastProgress).Seconds()
	r.lastDelivered, r.lastProgress = delivered, now
	if r.cfg.Progress == nil {
		return
	}
	r.mu.Lock()
	event, failed, first := r.event, r.dialErrors, r.firstError
	r.mu.Unlock()
	p := Progress{Phase: phase, Conns: int(r.conns.Load()), Want: r.cfg.Rooms * r.cfg.Members, PerSecond: rate,
		Delivered: delivered, Missing: missing, Faults: r.tally.faults.Load(), Event: event, DialErrors: failed}
	if first != nil {
		p.FirstError = printable(first.Error())
	}
	r.cfg.Progress(p)
}

// begin begins an event.
func (r *run) begin(name string, at int64) *period {
	r.mu.Lock()
	r.event = name
	r.mu.Unlock()
	return r.tally.begin(name, at)
}

func (r *run) notOpened() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unopened++
}

func (r *run) dialFailed(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialErrors++
	if r.firstError == nil {
		r.firstError = err
	}
}

// judge judges every room. What comes later is not looked at.
func (r *run) judge() {
	for _, rm := range r.rooms {
		rm.mu.Lock()
		rm.judged = true
		r.unsent.Add(uint64(len(rm.due)))
		rm.judge.finish(r.now())
		rm.mu.Unlock()
	}
}

// close closes every conn and waits for all goroutines, but for one that may read Config.Events.
func (r *run) close() {
	var closers sync.WaitGroup
	for _, rm := range r.rooms {
		rm.mu.Lock()
		for _, m := range rm.members {
			if m.socket != nil {
				closers.Go(m.socket.conn.Close)
			}
		}
		rm.mu.Unlock()
	}
	closers.Wait()
	r.members.Wait()
	r.writers.Wait()
}
