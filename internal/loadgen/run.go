package loadgen

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// dialers bounds the handshakes under way at once.
const dialers = 64

// run is one run of the generator.
type run struct {
	cfg     Config
	id      uint32
	dialer  Dialer
	began   time.Time
	rooms   []*room
	members []*member
	readers sync.WaitGroup

	closing                 atomic.Bool
	measureFrom, measureTo  atomic.Int64
	conns, opened           atomic.Int64 // open now; ever
	published, delivered    atomic.Uint64
	doubled, reordered      atomic.Uint64
	foreign, stalls, unsent atomic.Uint64
	latency                 [8]Latencies // by room, so that goroutines seldom meet

	mu            sync.Mutex
	connectErrors int
	closed        int
	firstError    error

	lastDelivered uint64 // owned by the goroutine of Run
	lastProgress  time.Time
}

// Run loads the servers and returns what it found. It ends early, with the report of what was done
// so far, when ctx ends. The error says why there is nothing to report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := newRun(cfg)
	defer r.end()
	connectTime := r.connect(ctx)
	if r.conns.Load() == 0 {
		return nil, fmt.Errorf("no conn opened: %w", errors.Join(r.firstError, ctx.Err()))
	}
	if cfg.Settle > 0 {
		r.wait(ctx, cfg.Settle, "warming up")
	}
	report := r.load(ctx)
	report.ConnectSeconds = connectTime.Seconds()
	r.end()
	r.judge(report)
	return report, nil
}

func newRun(cfg Config) *run {
	var seed [4]byte
	rand.Read(seed[:]) // never fails
	r := &run{cfg: cfg, id: binary.BigEndian.Uint32(seed[:]), dialer: Dialer{TLS: cfg.TLS, Mask: seed}, began: time.Now(), lastProgress: time.Now()}
	r.measureFrom.Store(math.MaxInt64)
	r.measureTo.Store(math.MaxInt64)
	for i := range cfg.Rooms {
		rm := &room{run: r, id: i, name: fmt.Sprintf("bench-%08x-%d", r.id, i), wake: make(chan struct{}, 1)}
		for k := range cfg.Members {
			m := &member{run: r, room: rm, pub: -1, url: urlFor(cfg.URLs[(i+k)%len(cfg.URLs)], rm.name),
				from: make([]tracker, cfg.Publishers)}
			if k < cfg.Publishers {
				m.pub = k
				rm.pubs = append(rm.pubs, m)
			}
			rm.members = append(rm.members, m)
			r.members = append(r.members, m)
		}
		r.rooms = append(r.rooms, rm)
	}
	return r
}

func (r *run) now() int64  { return int64(time.Since(r.began)) }
func (r *run) paced() bool { return r.cfg.Rate > 0 }

// connect opens all conns, as far as the servers let it, and starts their readers.
func (r *run) connect(ctx context.Context) time.Duration {
	start := time.Now()
	work := make(chan *member)
	var workers sync.WaitGroup
	for range min(dialers, len(r.members)) {
		workers.Go(func() {
			for m := range work {
				r.open(ctx, m)
			}
		})
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, m := range r.members {
		for sent := false; !sent; {
			select {
			case work <- m:
				sent = true
			case <-tick.C:
				r.progress("connecting")
			}
		}
	}
	close(work)
	workers.Wait()
	return time.Since(start)
}

func (r *run) open(ctx context.Context, m *member) {
	if ctx.Err() != nil {
		m.gone.Store(true)
		return
	}
	conn, err := r.dialer.Dial(ctx, m.url)
	if err != nil {
		m.gone.Store(true)
		r.note(&r.connectErrors, fmt.Errorf("connect %s: %w", m.url, err))
		return
	}
	m.conn = conn
	r.conns.Add(1)
	r.opened.Add(1)
	m.room.alive.Add(1)
	r.readers.Go(func() {
		err := conn.Read(m)
		m.gone.Store(true)
		if err != nil && !r.closing.Load() {
			m.left = true
			r.note(&r.closed, fmt.Errorf("%s: %w", m.url, err))
		}
		conn.Abort()
		m.room.alive.Add(-1)
		r.conns.Add(-1)
	})
}

// note counts a failed conn and keeps the first error.
func (r *run) note(count *int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*count++
	if r.firstError == nil {
		r.firstError = err
	}
}

// load lets the rooms publish, measures, and waits for what is still under way.
func (r *run) load(ctx context.Context) *Report {
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	var publishers sync.WaitGroup
	if r.cfg.Publishers > 0 {
		for _, rm := range r.rooms {
			publishers.Go(func() { rm.publish(publishing) })
		}
		if r.paced() {
			publishers.Go(func() { r.pace(publishing) })
		}
	}
	r.wait(ctx, r.cfg.Warm, "warming up")
	start, published, delivered := r.now(), r.published.Load(), r.delivered.Load()
	r.measureFrom.Store(start)
	r.wait(ctx, r.cfg.For, "measuring")
	end := r.now()
	r.measureTo.Store(end)
	seconds := time.Duration(end - start).Seconds()
	report := &Report{
		Rooms: r.cfg.Rooms, Members: r.cfg.Members, Publishers: r.cfg.Publishers, Size: r.cfg.Size, Seconds: seconds,
		MessagesPerSecond:   float64(r.published.Load()-published) / seconds,
		DeliveriesPerSecond: float64(r.delivered.Load()-delivered) / seconds,
	}
	stop()
	publishers.Wait()
	r.settle(context.WithoutCancel(ctx)) // what was sent before an interruption is still judged
	return report
}

// pace makes messages due, evenly over time and rooms.
func (r *run) pace(ctx context.Context) {
	each := float64(r.cfg.Members)
	if r.cfg.OthersOnly {
		each--
	}
	interval := max(each, 1) / r.cfg.Rate * 1e9
	start := r.now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; {
		for due := start + int64(float64(n)*interval); due <= r.now(); due = start + int64(float64(n)*interval) {
			r.rooms[n%len(r.rooms)].schedule(due)
			n++
		}
		timer.Reset(time.Duration(start + int64(float64(n)*interval) - r.now()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// maxSettle bounds the wait for a server that is far behind, or never stops sending.
const maxSettle = time.Minute

// settle waits until everything owed has come, or nothing has come for Quiet.
func (r *run) settle(ctx context.Context) {
	if r.cfg.Publishers == 0 {
		return
	}
	const look = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, maxSettle)
	defer cancel()
	last, quiet := r.delivered.Load(), time.Duration(0)
	for quiet < r.cfg.Quiet && ctx.Err() == nil {
		r.wait(ctx, look, "waiting")
		if n := r.delivered.Load(); n != last {
			last, quiet = n, 0
			continue
		}
		quiet += look
		if r.nothingOwed() && quiet >= 4*look { // a little longer, so that doubles show
			return
		}
	}
}

func (r *run) nothingOwed() bool {
	for _, rm := range r.rooms {
		if rm.owed.Load() > 0 {
			return false
		}
	}
	return true
}

// wait lets time pass and tells how it goes.
func (r *run) wait(ctx context.Context, d time.Duration, phase string) {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(r.lastProgress) >= time.Second {
				r.progress(phase)
			}
		}
	}
}

func (r *run) progress(phase string) {
	now, delivered := time.Now(), r.delivered.Load()
	rate := float64(delivered-r.lastDelivered) / now.Sub(r.lastProgress).Seconds()
	r.lastDelivered, r.lastProgress = delivered, now
	if r.cfg.Progress != nil {
		r.cfg.Progress(Progress{Phase: phase, Conns: int(r.conns.Load()), Want: len(r.members), PerSecond: rate,
			Delivered: delivered, Faults: r.doubled.Load() + r.reordered.Load()})
	}
}

// end closes every conn and waits for the readers. It may be called again.
func (r *run) end() {
	if r.closing.Swap(true) {
		return
	}
	for _, m := range r.members {
		if m.conn != nil {
			m.conn.Close()
		}
	}
	r.readers.Wait()
}

// judge adds what the members saw to the report. The readers have ended.
func (r *run) judge(report *Report) {
	report.ConnectErrors, report.Closed = r.connectErrors, r.closed
	report.Conns = int(r.opened.Load())
	if r.firstError != nil {
		report.FirstError = r.firstError.Error()
	}
	report.Published, report.Delivered = r.published.Load(), r.delivered.Load()
	report.Doubled, report.Reordered = r.doubled.Load(), r.reordered.Load()
	report.Foreign, report.Stalls, report.Unsent = r.foreign.Load(), r.stalls.Load(), r.unsent.Load()
	for _, rm := range r.rooms {
		report.Lost += rm.lost()
		if rm.disagree() {
			report.Disagree++
		}
	}
	q := Quantiles(r.latency[:], 0.5, 0.99, 0.999)
	report.P50, report.P99, report.P999, report.Max = ms(q[0]), ms(q[1]), ms(q[2]), ms(Maximum(r.latency[:]))
}

func ms(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }
