package router

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
)

// lane is one loop with the rooms of its partitions and all their members.
// Everything here but arrivals is touched on that loop alone, so no lock is taken
// for a message.
type lane struct {
	// Set by newLane, then only read.
	router *Router
	number int
	loop   *poll.Loop
	hub    *hub.Hub

	mesh   *link.Mesh // nil until UseMesh
	byPeer map[peer]*link.Link

	conns    []*conn // in no order; a conn knows its place
	wheel    wheel
	leaving  []*conn // while draining: still to be told, in random order
	drain    drain
	counters Counters
	filled   bool   // data frames were filled in this turn
	scratch  []byte // for answers and control frames, used within one call

	posts     []*post // messages over HTTP under way, by due; some are done
	settled   int     // so many of posts are done
	bodies    int     // bytes of their bodies that the hub does not have yet
	maxBodies int
	keys      keys

	mu       sync.Mutex
	arrivals []arrival // conns that other lanes hand over
}

// peer is a link as the hub names it.
type peer struct {
	node  proto.NodeName
	index int
}

// Counters counts what happened to the conns of a lane.
type Counters struct {
	Conns     int    `metric:"gauge" help:"Conns open, upgraded or not."`
	Open      int    `name:"websockets" metric:"gauge" help:"WebSockets open."`
	Accepted  uint64 `help:"Sockets accepted."`
	Upgraded  uint64 `help:"WebSockets opened."`
	Messages  uint64 `help:"Messages that clients sent."`
	Posts     uint64 `help:"Messages taken over HTTP, repeated ones not counted."`
	Bytes     uint64 `name:"received_bytes" help:"Bytes of payload that clients sent."`
	BytesOut  uint64 `name:"sent_bytes" help:"Bytes that clients' sockets took."`
	Protocol  uint64 `help:"Conns closed because the client broke the protocol."`
	Slow      uint64 `help:"Conns closed because they fell behind (4008)."`
	Silent    uint64 `help:"Conns closed because a ping was not answered."`
	Late      uint64 `help:"Conns closed because their handshake took too long."`
	Expired   uint64 `help:"Conns closed because a publish could not be placed (1013)."`
	Drained   uint64 `help:"Conns closed by a drain (1012)."`
	Pushbacks uint64 `help:"Times that a conn's socket was left unread."`
	Panics    uint64 `help:"Panics contained while a conn changed its lane."`

	Refused [len(reasons)]uint64    `label:"reason" labels:"bad_proxy,bad_request,bad_room,bad_since,bad_subprotocol,draining,forbidden,forbidden_origin,full,header_too_large,key_reused,method_not_allowed,not_found,rate_limited,timeout,too_big,unacknowledged,unauthorized,unavailable,unrecovered,upgrade_required,uri_too_long,other" help:"Requests answered with an error, by its code; sockets closed unheard above every limit are full."`
	Closed  [len(closeCodes)]uint64 `label:"code" labels:"1002,1007,1008,1009,1012,1013,4008,other" help:"WebSockets closed by this router, by the close code."`
}

func newLane(r *Router, n int) (*lane, error) {
	lanes := r.cfg.Lanes
	l := &lane{router: r, number: n, byPeer: map[peer]*link.Link{}}
	memory := int(min(r.cfg.MemoryLimit, 1<<40))
	l.maxBodies = max(min(maxBodies, memory/32)/lanes, 4*r.cfg.MaxMessage)
	l.keys.limit = memory / 32 / lanes
	l.hub = hub.New(hub.Config{
		Partitions: r.cfg.Partitions, Lane: n, Lanes: lanes,
		Unacknowledged: int(min(256<<20, r.cfg.MemoryLimit/8)) / lanes,
		Tails:          int(r.cfg.MemoryLimit/4) / lanes,
		RoomTail:       r.cfg.Window,
		JoinTimeout:    r.cfg.JoinTime,
	}, (*sink)(l))
	loop, err := poll.New(poll.Config{
		Portable: r.cfg.Portable, Turn: l.turn, Tick: l.tick,
		Panic: l.panicked, AcceptFailed: l.acceptFailed,
	})
	if err != nil {
		return nil, err
	}
	l.loop = loop
	return l, nil
}

// maxBodies bounds the bodies of HTTP publishes that are being read, of a whole
// router, in bytes.
const maxBodies = 64 << 20

func (l *lane) panicked(v any) {
	l.router.log.Error("panic contained", zap.Any("value", v), zap.ByteString("stack", debug.Stack()))
}

func (l *lane) acceptFailed(err error, wait time.Duration) {
	l.router.log.Warn("accept failed", zap.Error(err), zap.Duration("again_in", wait))
}

func (l *lane) listen(ln net.Listener) {
	l.wheel.start(l.loop.Now())
	if err := l.loop.Listen(ln, l.accept); err != nil {
		l.router.log.Error("listen failed", zap.Error(err))
	}
}

// Up begins a link.
func (l *lane) Up(k *link.Link) {
	if p := k.Peer(); p.Role == proto.RoleShard {
		l.router.links.Add(1)
		l.byPeer[peer{p.Name, p.Index}] = k
		l.hub.LinkUp(p.Name, p.Index, max(p.Lanes, l.router.cfg.Lanes), l.loop.Now())
	}
	if c := l.router.cfg.Control; c != nil {
		c.Up(k)
	}
}

// Down ends a link. What is unacknowledged stays, and is sent again.
func (l *lane) Down(k *link.Link, err error) {
	if p := k.Peer(); p.Role == proto.RoleShard && l.byPeer[peer{p.Name, p.Index}] == k {
		l.router.links.Add(-1)
		delete(l.byPeer, peer{p.Name, p.Index})
		l.hub.LinkDown(p.Name, p.Index, l.loop.Now())
	}
	if c := l.router.cfg.Control; c != nil {
		c.Down(k, err)
	}
}

// Frame handles one frame from another node.
func (l *lane) Frame(k *link.Link, typ proto.FrameType, body []byte) {
	if typ >= proto.FramePublish && typ < proto.FramePing {
		if err := l.hub.Frame(k.Peer().Name, typ, body, l.loop.Now()); err != nil {
			k.Fail(err)
		}
		return
	}
	if c := l.router.cfg.Control; c != nil {
		c.Frame(k, typ, body)
	}
}

// turn ends a wake-up. Shards hear first, so that they work while we fan out.
func (l *lane) turn() {
	l.flushLinks()
	l.hub.FanOut(l.loop.Now())
	l.flushLinks() // what members did while they were written to
	l.goOn()
	if need := l.router.cfg.NeedTable; need != nil {
		if p, term, ok := l.hub.NeedTable(); ok {
			need(p, term)
		}
	}
}

func (l *lane) flushLinks() {
	l.hub.Work(l.fill)
	if l.mesh != nil {
		l.mesh.Flush(l.number)
	}
}

// fill gives one link what the hub has for it, as far as it takes it.
func (l *lane) fill(node proto.NodeName, index int) {
	k := l.byPeer[peer{node, index}]
	if k == nil {
		return
	}
	k.Control(func(b []byte) []byte { return l.hub.Control(node, index, b, maxControl) })
	if space := k.Space(); space > 0 {
		k.Data(func(b []byte) []byte {
			before := len(b)
			b = l.hub.Fill(node, index, b, space)
			l.filled = l.filled || len(b) > before
			return b
		})
	}
}

// goOn has another turn follow at once when a link took all that it was given
// and there is more: then nothing that happens would lead to one.
func (l *lane) goOn() {
	if !l.filled {
		return
	}
	l.filled = false
	more := false
	l.hub.Work(func(node proto.NodeName, index int) {
		k := l.byPeer[peer{node, index}]
		more = more || k != nil && k.Space() > 0
	})
	if more {
		l.loop.Post(func() {})
	}
}

// maxControl bounds the control frames of one turn and link, in bytes: the rest
// comes in the next.
const maxControl = 64 << 10

func (l *lane) tick(now time.Time) {
	l.hub.Tick(now)
	l.wheel.advance(now, l.due)
	l.drainTick(now)
	l.tickPosts(now)
	if l.mesh != nil {
		l.mesh.Tick(l.number, now)
	}
}

func (l *lane) setTable(rows []Row) {
	now := l.loop.Now()
	for i := range rows {
		if r := &rows[i]; int(r.Partition)%l.router.cfg.Lanes == l.number {
			l.hub.SetRow(r.Partition, r.Owner, r.Term, now)
		}
	}
}

// ask runs f on the loop and waits for it.
func (l *lane) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	l.loop.Post(func() {
		f()
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ErrStopped
	}
}
