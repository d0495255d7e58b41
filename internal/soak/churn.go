package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// How many there are of each kind of client.
const (
	regularRooms   = 40 // each with a publisher and listeners that stay
	regularMembers = 3
	regularPace    = 200 * time.Millisecond
	returners      = 20 // in regular rooms; they come back with since
	idlers         = 200
	idleRooms      = 50
	poolRooms      = 100 // where visitors meet; the other rooms are theirs alone
	slowRooms      = 2
	slowReaders    = 2 // in each
	slowPace       = 50 * time.Millisecond
	slowSize       = 32 << 10
	slowLeast      = 5 * time.Second // it reads nothing for so long, or longer
	slowMost       = 15 * time.Second
	postRooms      = 10
	postPace       = 100 * time.Millisecond
	lastWithin     = 2 * time.Minute // for what was published last
)

// churn is all clients.
type churn struct {
	cluster *cluster
	canary  *canary
	rate    float64
	tally   tally
	group   sync.WaitGroup
	next    atomic.Uint64 // number of the next room that is born
	crowd   chan struct{} // visitors that are there
}

// maxVisitors bounds the visitors that are there at once; more wait outside.
const maxVisitors = 4000

func newChurn(c *cluster, canary *canary, rate float64) *churn {
	return &churn{cluster: c, canary: canary, rate: rate, crowd: make(chan struct{}, maxVisitors)}
}

// run has all clients come and go until ctx ends, waits until what was published last was heard, unless
// quit ends, and closes all. ctx comes of quit.
func (h *churn) run(quit, ctx context.Context) {
	staying, leave := context.WithCancel(quit)
	defer leave()
	var regulars []*regular
	for i := range regularRooms {
		r := &regular{churn: h, room: fmt.Sprintf("regular-%d", i), home: i}
		regulars = append(regulars, r)
		r.begin(ctx, staying)
	}
	for i := range returners {
		h.group.Go(func() { h.comeBack(ctx, regulars[i%len(regulars)]) })
	}
	for i := range idlers {
		h.group.Go(func() { h.idle(ctx, i) })
	}
	for i := range slowRooms {
		room := fmt.Sprintf("slow-%d", i)
		h.group.Go(func() { h.flood(ctx, room) })
		for range slowReaders {
			h.group.Go(func() { h.lag(ctx, room) })
		}
	}
	for i := range postRooms {
		h.group.Go(func() { h.listen(ctx, h.router(i), fmt.Sprintf("post-%d", i)) })
	}
	h.group.Go(func() { h.post(ctx) })
	h.group.Go(func() { h.visits(ctx) })
	<-ctx.Done()
	for _, r := range regulars {
		r.end(quit)
	}
	leave()
	h.group.Wait()
}

func (h *churn) router(i int) *node { return h.cluster.routers[i%len(h.cluster.routers)] }

// open joins a room, or counts that it could not. The caller closes it.
func (h *churn) open(ctx context.Context, router *node, room string, narrow bool, more ...string) *socket {
	s, err := join(ctx, router, room, narrow, more...)
	if err != nil {
		if ctx.Err() == nil {
			h.tally.noOpen(err)
		}
		return nil
	}
	h.tally.opened.Add(1)
	return s
}

// follow reads a numbered conn until it ends. each is told every message.
func (h *churn) follow(ctx context.Context, s *socket, room string, f *follower, each func(message string) error) error {
	defer s.until(ctx)()
	defer func() { h.tally.messages.Add(f.heard) }()
	for {
		text, err := s.next()
		if err != nil {
			return err
		}
		aged := f.aged
		message, err := f.take(text)
		if f.aged > aged {
			h.ended(nil, "%s: it was told of a gap up to %s, which is older than %s", room, f.position(), historyAge)
		}
		if errors.Is(err, errReset) {
			h.ended(nil, "%s: %v with %s", room, err, f.position())
			return errFault
		}
		if err == nil && !strings.HasPrefix(text, "!") && each != nil {
			err = each(message)
		}
		if err != nil {
			h.tally.fault("%s: %v", room, err)
			return errFault
		}
	}
}

// errFault is the end of a conn whose fault is told already.
var errFault = errors.New("a fault")

// endure follows a conn that must not end before ctx does.
func (h *churn) endure(ctx context.Context, s *socket, room string, f *follower, each func(message string) error) {
	if err := h.follow(ctx, s, room, f, each); ctx.Err() == nil && !errors.Is(err, errFault) {
		h.ended(err, "%s: a conn ended at %s: %v", room, f.position(), err)
	}
}

// ended notes a conn that the server ended, or did not open, or that lost its place because of what is old.
// If this process had no time to answer or to read, nodes had none either, and that may be why.
func (h *churn) ended(err error, format string, args ...any) {
	var c *closed
	silent := !errors.As(err, &c) || c.code == closeSlow
	if late := h.canary.worst(time.Now()); silent && late >= tooLate {
		h.tally.late("%s, when this process was %s late", fmt.Sprintf(format, args...), late.Round(time.Second))
		return
	}
	h.tally.fault(format, args...)
}

// stay is endure for some time.
func (h *churn) stay(ctx context.Context, d time.Duration, s *socket, room string, f *follower, each func(message string) error) {
	short, done := context.WithTimeout(ctx, d)
	defer done()
	h.endure(short, s, room, f, each)
}

// regular is a room with one publisher, whose message n says n - 1, and listeners that stay.
type regular struct {
	churn *churn
	room  string
	home  int // its publisher's router
	sent  atomic.Uint64
	times [1 << 12]atomic.Int64 // when the last ones were, by their number from 0, in nanoseconds
	heard [regularMembers]atomic.Uint64
	voice sync.WaitGroup
}

func (r *regular) begin(ctx, staying context.Context) {
	for i := range r.heard {
		r.churn.group.Go(func() {
			s := r.churn.open(ctx, r.churn.router(r.home+i), r.room, false, "num=1")
			if s == nil {
				r.churn.ended(nil, "%s: a listener could not join", r.room)
				return
			}
			defer s.leave(true)
			f := &follower{gone: r.gone}
			r.churn.endure(staying, s, r.room, f, func(message string) error {
				r.heard[i].Store(f.at)
				return r.check(f, message)
			})
		})
	}
	r.voice.Go(func() { r.speak(ctx, staying) })
}

// check: a message and its number say the same.
func (r *regular) check(f *follower, message string) error {
	if message != strconv.FormatUint(f.at-1, 10) {
		return fmt.Errorf("message %d says %q", f.at, message)
	}
	return nil
}

// gone reports whether a message, by its offset, is so old that the server may have forgotten it.
func (r *regular) gone(offset uint64) bool {
	n := offset - 1
	at := time.Unix(0, r.times[n%uint64(len(r.times))].Load())
	return n < r.sent.Load() && time.Since(at) > historyAge
}

// speak publishes from a conn of its own, until ctx ends.
func (r *regular) speak(ctx, staying context.Context) {
	s := r.churn.open(ctx, r.churn.router(r.home), r.room, false, "echo=0")
	if s == nil {
		return
	}
	defer s.conn.Close()
	defer s.until(staying)()
	tick := time.NewTicker(regularPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.churn.hear(s)
			return
		case <-tick.C:
		}
		n := r.sent.Load()
		r.times[n%uint64(len(r.times))].Store(time.Now().UnixNano())
		if err := s.say(strconv.FormatUint(n, 10)); err != nil {
			r.churn.ended(err, "%s: publish: %v", r.room, err)
			return
		}
		r.sent.Add(1)
	}
}

// hear has the router take what was sent: it answers a goodbye once it has read it.
func (h *churn) hear(s *socket) {
	_ = s.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))) // an error shows in what is heard
	_ = s.conn.SetReadDeadline(time.Now().Add(lastWithin))
	for {
		if _, err := s.next(); err != nil {
			return
		}
	}
}

// end waits until all listeners have heard everything, or quit ends.
func (r *regular) end(quit context.Context) {
	r.voice.Wait()
	timeout := time.After(lastWithin)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for i := range r.heard {
		for r.heard[i].Load() < r.sent.Load() {
			select {
			case <-again.C:
			case <-quit.Done():
				return
			case <-timeout:
				r.churn.tally.fault("%s: a listener heard %d of %d messages", r.room, r.heard[i].Load(), r.sent.Load())
				return
			}
		}
	}
}

// comeBack is a conn in a regular room that leaves every few seconds and comes back to the other router
// where it was.
func (h *churn) comeBack(ctx context.Context, r *regular) {
	was := "" // its position
	for turn := 0; ctx.Err() == nil; turn++ {
		f, more := &follower{since: was, gone: r.gone}, "num=1"
		if was != "" {
			more = "since=" + was
		}
		s := h.open(ctx, h.router(turn), r.room, false, more)
		if s == nil {
			pause(ctx, time.Second)
			continue
		}
		h.stay(ctx, 2*time.Second+rand.N(4*time.Second), s, r.room, f, func(message string) error { return r.check(f, message) })
		s.leave(false)
		if f.epoch != "" {
			if was != "" && f.aged == 0 {
				h.tally.resumed.Add(1)
			}
			was = f.position()
		}
		pause(ctx, rand.N(time.Second))
	}
}

// idle is a conn that says nothing and hears nothing.
func (h *churn) idle(ctx context.Context, i int) {
	room := fmt.Sprintf("idle-%d", i%idleRooms)
	if s := h.open(ctx, h.router(i/idleRooms), room, false, "num=1"); s != nil {
		defer s.leave(true)
		h.endure(ctx, s, room, &follower{}, nil)
	}
}

// listen is a conn that stays and checks numbers.
func (h *churn) listen(ctx context.Context, router *node, room string) {
	if s := h.open(ctx, router, room, false, "num=1"); s != nil {
		defer s.leave(true)
		h.endure(ctx, s, room, &follower{}, nil)
	}
}

// flood publishes much in a room, for readers to fall behind.
func (h *churn) flood(ctx context.Context, room string) {
	s := h.open(ctx, h.router(0), room, false, "echo=0")
	if s == nil {
		return
	}
	defer s.conn.Close()
	defer s.until(ctx)()
	go func() { // pings
		for _, err := s.next(); err == nil; _, err = s.next() {
		}
	}()
	text := strings.Repeat("x", slowSize)
	tick := time.NewTicker(slowPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.say(text); err != nil {
			if ctx.Err() == nil {
				h.ended(err, "%s: publish: %v", room, err)
			}
			return
		}
	}
}

// closeSlow is the code of who fell behind.
const closeSlow = 4008

// lag is a conn that reads nothing for a while, then all at once, again and again.
func (h *churn) lag(ctx context.Context, room string) {
	for turn := 0; ctx.Err() == nil; turn++ {
		s := h.open(ctx, h.router(turn), room, true, "num=1")
		if s == nil {
			pause(ctx, time.Second)
			continue
		}
		pause(ctx, slowLeast+rand.N(slowMost-slowLeast))
		short, done := context.WithTimeout(ctx, 5*time.Second)
		f := &follower{holes: true}
		err := h.follow(short, s, room, f, nil)
		var c *closed
		switch {
		case short.Err() != nil: // it was not slow enough
		case errors.As(err, &c) && c.code == closeSlow, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			h.tally.slow.Add(1) // what its socket does not take in time, it is not told
		case !errors.Is(err, errFault):
			h.tally.fault("%s: a slow reader ended: %v", room, err)
		}
		h.tally.gaps.Add(uint64(f.told))
		done()
		s.leave(true)
	}
}

// visits has visitors come at the rate.
func (h *churn) visits(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	due, last := 0.0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		due = min(due+now.Sub(last).Seconds()*h.rate, h.rate) // after a pause, a second's worth at most
		last = now
		for ; due >= 1; due-- {
			select {
			case h.crowd <- struct{}{}:
			default:
				continue // the machine is too slow for more
			}
			h.group.Go(func() {
				defer func() { <-h.crowd }()
				h.visit(ctx)
			})
		}
	}
}

// visit is one conn: it joins a room, perhaps says something, and leaves.
func (h *churn) visit(ctx context.Context) {
	room := fmt.Sprintf("pool-%d", rand.N(poolRooms))
	if rand.N(2) == 0 {
		room = fmt.Sprintf("born-%d", h.next.Add(1))
		h.tally.born.Add(1)
	}
	var more []string
	numbered := rand.N(2) == 0
	if numbered {
		more = []string{"num=1"}
	}
	s := h.open(ctx, h.router(rand.N(2)), room, false, more...)
	if s == nil {
		return
	}
	for i := range rand.N(4) {
		if err := s.say(fmt.Sprintf("visitor %d", i)); err != nil {
			h.ended(err, "%s: publish: %v", room, err)
			break
		}
	}
	h.stay(ctx, 100*time.Millisecond+rand.N(2*time.Second), s, room, &follower{plain: !numbered}, nil)
	s.leave(rand.N(2) == 0)
}

// post publishes over HTTP. One in five asks again with the same key, and must be told the same.
func (h *churn) post(ctx context.Context) {
	tick := time.NewTicker(postPace)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		room, key := fmt.Sprintf("post-%d", n%postRooms), fmt.Sprintf("key-%d", n)
		first, err := h.send(ctx, h.router(n), room, key)
		if err != nil || n%5 != 0 {
			continue
		}
		again, err := h.send(ctx, h.router(n), room, key)
		if err == nil && again != first {
			h.tally.fault("%s: %s was acknowledged as %v, then as %v", room, key, first, again)
		}
		h.tally.repeated.Add(1)
	}
}

// receipt is the acknowledgement of a post.
type receipt struct {
	Epoch  string
	Offset uint64
}

var posts = http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

func (h *churn) send(ctx context.Context, router *node, room, key string) (r receipt, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+router.listen+"/v1/rooms/"+room+"/messages", strings.NewReader("posted "+key))
	if err != nil {
		return r, err
	}
	request.Header.Set("Authorization", "Bearer "+h.cluster.apiKey)
	request.Header.Set("Idempotency-Key", key)
	h.tally.posts.Add(1)
	answer, err := posts.Do(request)
	if err == nil {
		defer answer.Body.Close()
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer)); err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, body)
		} else if err == nil {
			err = json.Unmarshal(body, &r)
		}
	}
	if err == nil || ctx.Err() != nil {
		h.tally.posted.Add(1)
		return r, err
	}
	h.tally.noPost(err)
	return r, err
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
