package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/proto"
)

// server is an honest room server that speaks num=1 and since. What a test may bend is a field.
type server struct {
	// keep is how many messages of a room can be resumed; 0 means all.
	keep uint64

	// append is called with each message before it is in the log, with the room locked. It returns what
	// to put in the log; an entry without payload is an offset that nobody hears.
	append func(r *served, m entry) []entry

	// resume may change the position that a resume goes on from, with the room locked.
	resume func(r *served, p proto.Position) proto.Position

	mu    sync.Mutex
	rooms map[string]*served
}

// served is a room.
type served struct {
	name  string
	epoch proto.Epoch
	log   []entry
	ears  []*ear
	count int // messages that came
	held  []entry
}

// entry is a message in a room.
type entry struct {
	op      ws.OpCode
	payload []byte
}

// ear is a conn. Each has a goroutine that writes, so that nobody waits for it.
type ear struct {
	conn net.Conn
	out  chan ws.Frame
}

func epochOf(n int) proto.Epoch { return proto.MintEpoch(uint64(n)) }

// world is a network in memory, in a bubble of fake time. A byte takes 1 ms.
type world struct {
	t     *testing.T
	net   *memnet.Network
	hosts int
}

// inWorld runs a test in a world of its own.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, &world{t: t, net: memnet.New()}) })
}

// host serves at an address of its own, and returns its URL.
func (w *world) host(h http.Handler, end func()) string {
	w.hosts++
	ip := fmt.Sprintf("10.0.0.%d", w.hosts)
	w.net.Delay("127.0.0.1", ip, time.Millisecond)
	l, err := w.net.Listen(ip + ":80")
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	w.t.Cleanup(func() {
		end()
		server.Close()
		<-done
	})
	return "ws://" + ip + ":80"
}

func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	return w.net.DialContext(ctx, address)
}

// serve starts a server and returns its URL.
func (w *world) serve(s *server) string {
	s.rooms = map[string]*served{}
	return w.host(s, func() {
		s.each(func(r *served) {
			for _, e := range r.ears {
				e.conn.Close()
			}
		})
	})
}

func (s *server) each(f func(*served)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rooms {
		f(r)
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	conn, rw, _, err := ws.UpgradeHTTP(q, w)
	if err != nil {
		return
	}
	defer conn.Close()
	e := &ear{conn, make(chan ws.Frame, 1<<16)}
	var writer sync.WaitGroup
	writer.Go(e.write)
	r := s.join(e, q.FormValue("room"), q.FormValue("since"))
	for {
		payload, op, err := wsutil.ReadClientData(readWriter{rw, conn})
		if err != nil {
			break
		}
		s.publish(r, entry{op, payload})
	}
	s.leave(r, e)
	writer.Wait()
}

type readWriter struct {
	io.Reader
	io.Writer
}

// join tells a conn where it is, and sends what it missed.
func (s *server) join(e *ear, name, since string) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[name]
	if r == nil {
		r = &served{name: name, epoch: epochOf(len(s.rooms) + 1)}
		s.rooms[name] = r
	}
	r.ears = append(r.ears, e)
	here := uint64(len(r.log))
	p, err := proto.ParsePosition(since)
	if err != nil {
		e.line(r.epoch, here, "")
		return r
	}
	asked := p
	if s.resume != nil {
		p = s.resume(r, p)
	}
	lowest := uint64(0)
	if s.keep > 0 && here > s.keep {
		lowest = here - s.keep
	}
	from := uint64(p.Offset)
	switch {
	case p.Epoch != r.epoch:
		from = lowest
		e.line(r.epoch, from, " reset")
	case from < lowest:
		from = lowest
		e.line(r.epoch, from, " gap")
	default:
		e.line(r.epoch, uint64(asked.Offset), "")
	}
	for o := from + 1; o <= here; o++ {
		e.message(o, r.log[o-1])
	}
	return r
}

func (s *server) leave(r *served, e *ear) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ears = slices.DeleteFunc(r.ears, func(other *ear) bool { return other == e })
	close(e.out)
}

func (s *server) publish(r *served, m entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.count++
	list := []entry{m}
	if s.append != nil {
		list = s.append(r, m)
	}
	for _, m := range list {
		r.log = append(r.log, m)
		for _, e := range r.ears {
			e.message(uint64(len(r.log)), m)
		}
	}
}

// restart gives every room a new epoch and tells so, if word is not empty.
func (s *server) restart(word string) {
	s.each(func(r *served) {
		r.epoch = proto.MintEpoch(binary.BigEndian.Uint64(r.epoch[:]) + 1)
		r.log = nil
		for _, e := range r.ears {
			e.line(r.epoch, 0, word)
		}
	})
}

func (e *ear) line(epoch proto.Epoch, offset uint64, suffix string) {
	e.out <- ws.NewTextFrame(fmt.Appendf(nil, "!%s.%d%s", epoch, offset, suffix))
}

func (e *ear) message(offset uint64, m entry) {
	switch {
	case m.payload == nil:
	case m.op == ws.OpText:
		e.out <- ws.NewTextFrame(append(fmt.Appendf(nil, "%d ", offset), m.payload...))
	default:
		e.out <- ws.NewBinaryFrame(append(binary.BigEndian.AppendUint64(nil, offset), m.payload...))
	}
}

func (e *ear) write() {
	for f := range e.out {
		ws.WriteFrame(e.conn, f) // a conn that ended shows in the reader
	}
}

// proxy stands before a server and bends what passes.
type proxy struct {
	target string
	dialer ws.Dialer

	// down is called with each frame to a client, up with each from one, one call at a time. They
	// return what to pass on. If nil, everything passes.
	down, up func(l *leg, f ws.Frame) []ws.Frame

	mu     sync.Mutex
	legs   []*leg
	refuse int // how many conns to refuse
}

// leg is a conn through the proxy.
type leg struct {
	number         int // among those of its room, in the order in which they came
	room           string
	client, server net.Conn
	count          int // messages that passed this way
	held           []ws.Frame
}

// bend starts a proxy and returns its URL.
func (w *world) bend(p *proxy) string {
	p.dialer = ws.Dialer{NetDial: w.dial}
	return w.host(p, func() { p.each((*leg).end) })
}

func (p *proxy) each(f func(*leg)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.legs {
		f(l)
	}
}

func (l *leg) end() {
	l.client.Close()
	l.server.Close()
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	p.mu.Lock()
	p.refuse--
	refused := p.refuse >= 0
	p.mu.Unlock()
	if refused {
		http.Error(w, "full", http.StatusServiceUnavailable)
		return
	}
	far, ahead, _, err := p.dialer.Dial(q.Context(), p.target+q.URL.RequestURI())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	var server io.Reader = far
	if ahead != nil {
		server = io.MultiReader(io.LimitReader(ahead, int64(ahead.Buffered())), far)
	}
	near, rw, _, err := ws.UpgradeHTTP(q, w)
	if err != nil {
		far.Close()
		return
	}
	l := &leg{room: q.FormValue("room"), client: near, server: far}
	p.mu.Lock()
	for _, other := range p.legs {
		if other.room == l.room {
			l.number++
		}
	}
	p.legs = append(p.legs, l)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, server, near, p.down, func(f ws.Frame) ws.Frame { return f }) })
	both.Go(func() { p.pump(l, rw, far, p.up, ws.MaskFrame) })
	both.Wait()
}

func (p *proxy) pump(l *leg, from io.Reader, to net.Conn, bend func(*leg, ws.Frame) []ws.Frame, mask func(ws.Frame) ws.Frame) {
	defer l.end()
	for {
		f, err := readFrame(from)
		if err != nil {
			return
		}
		list := []ws.Frame{f}
		if bend != nil && f.Header.OpCode.IsData() {
			p.mu.Lock()
			list = bend(l, f)
			p.mu.Unlock()
		}
		for _, f := range list {
			if ws.WriteFrame(to, mask(f)) != nil {
				return
			}
		}
	}
}

// readFrame reads a frame and takes its mask off.
func readFrame(from io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(from); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length) // both ends are ours
	if _, err = io.ReadFull(from, f.Payload); err == nil && f.Header.Masked {
		f = ws.UnmaskFrameInPlace(f)
	}
	return f, err
}

// frameOf is a frame with another payload.
func frameOf(f ws.Frame, payload []byte) ws.Frame { return ws.NewFrame(f.Header.OpCode, true, payload) }

// split parts a numbered frame.
func split(f ws.Frame) (offset uint64, payload []byte, ok bool) {
	return parseNumber(f.Payload, f.Header.OpCode == ws.OpBinary)
}

// numbered puts a frame together again.
func numbered(op ws.OpCode, offset uint64, payload []byte) ws.Frame {
	if op == ws.OpText {
		return ws.NewTextFrame(append(strconv.AppendUint(nil, offset, 10), append([]byte(" "), payload...)...))
	}
	return ws.NewBinaryFrame(append(binary.BigEndian.AppendUint64(nil, offset), payload...))
}
