package router

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/router/websocket"
)

// request reads a client's first words.
func (c *conn) request(b []byte) int {
	req, n, err := websocket.ParseRequest(b, &c.lane.router.limits)
	switch {
	case err != nil:
		if err == websocket.ErrProxyHeader {
			c.lane.router.badProxy(c.opening.peer, err)
		}
		c.refuse(err)
		return len(b)
	case n == 0:
		return 0
	case req.Route == websocket.RoutePublish:
		return c.ask(&req, b, n)
	case req.Route != websocket.RouteUpgrade:
		c.answer(&req)
		return len(b)
	}
	if err := c.admit(&req); err != nil {
		c.refuse(err)
		return len(b)
	}
	c.opening.key, c.opening.protocol, c.opening.room = req.Key, req.Subprotocol, req.Room
	c.opening.options = hub.JoinOptions{
		Numbered: req.Num || req.Resume, NoEcho: !req.Echo,
		Resume: req.Resume && req.Since != proto.Position{}, Since: req.Since,
		All: req.Resume && req.Since == proto.Position{},
	}
	return c.settle(b, n)
}

// admit judges who may have a WebSocket here.
func (c *conn) admit(req *websocket.Request) *websocket.HTTPError {
	r := c.lane.router
	if r.draining.Load() {
		return websocket.ErrDraining
	}
	if c.opening.full {
		return websocket.ErrFull
	}
	ip, err := c.checkSource(req)
	if err != nil {
		return err
	}
	return c.enter(ip)
}

// enter counts the conn under the address of its client.
func (c *conn) enter(ip netip.Addr) *websocket.HTTPError {
	r := c.lane.router
	if err := r.addresses.enter(ip); err != nil {
		return err
	}
	if r.addresses.limited() {
		c.from = &origin{ip}
	}
	return nil
}

// checkSource judges where a request comes from: its Origin and, where that is
// asked for, its Host. It returns the client's address.
func (c *conn) checkSource(req *websocket.Request) (netip.Addr, *websocket.HTTPError) {
	cfg := &c.lane.router.cfg
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	if p := c.opening.below; p != nil {
		c.opening.header = p.header
	}
	ip, scheme := websocket.Forwarded(c.opening.peer, scheme, c.opening.header, req.ForwardedFor, req.ForwardedProto, cfg.TrustedProxies)
	if cfg.LocalHost && !isLocalHost(req.Host) {
		return ip, errForeignHost
	}
	if !websocket.OriginAllowed(req.Origin, scheme, req.Host, cfg.AllowOrigin) {
		return ip, websocket.ErrForbiddenOrigin
	}
	return ip, nil
}

var errForeignHost = &websocket.HTTPError{Status: 403, Code: "forbidden", Message: "this port serves localhost only; open it by that name"}

// isLocalHost says whether a Host means this machine: a page that was loaded
// under another name and has that resolve to 127.0.0.1 is not ours.
func isLocalHost(host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	return strings.EqualFold(name, "localhost") || name == "127.0.0.1" || name == "[::1]"
}

// settle brings the conn to the lane of its room, where it joins. B holds the
// request, of n bytes, and perhaps frames behind it.
func (c *conn) settle(b []byte, n int) int {
	l := c.lane
	r := l.router
	p := proto.PartitionOfString(c.opening.room, r.cfg.Partitions)
	to := r.lanes[int(p)%len(r.lanes)]
	if to == l {
		if l.begin(c); c.state == stateBody {
			n += c.body(b[n:])
		}
		return n
	}
	// A new conn moves: this one may still be in the wheel of this lane.
	a := arrival{conn: &conn{state: stateRequest, opening: c.opening, from: c.from}, rest: bytes.Clone(b[n:])}
	a.socket, _ = c.sock.Release()
	c.state, c.opening, c.from = stateGone, nil, nil
	l.remove(c)
	to.send(a)
	return n
}

// arrival is a conn on its way to the lane of its room.
type arrival struct {
	conn   *conn
	socket poll.Socket
	rest   []byte // what the client said behind its request
}

// send has l take a conn over. It is called on the lane that gives it up.
func (l *lane) send(a arrival) {
	l.mu.Lock()
	l.arrivals = append(l.arrivals, a)
	l.mu.Unlock()
	l.loop.Post(l.welcome)
}

// arrived returns those that l has not taken over yet.
func (l *lane) arrived() []arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.arrivals
	l.arrivals = nil
	return list
}

func (l *lane) welcome() {
	for _, a := range l.arrived() {
		l.adopt(a)
	}
}

// turnAway closes the conns that came when the lane had ended.
func (l *lane) turnAway() {
	for _, a := range l.arrived() {
		a.socket.Close()
		l.router.forget(a.conn)
	}
}

// adopt takes a conn over from the lane that accepted it. The loop contains
// only panics of the conn's own callbacks, which this is none of.
func (l *lane) adopt(a arrival) {
	c := a.conn
	l.add(c)
	defer func() {
		if v := recover(); v != nil {
			l.counters.Panics++
			l.panicked(v)
			c.end()
		}
	}()
	if err := l.loop.OpenWith(&c.sock, a.socket, c, a.rest); err != nil {
		a.socket.Close()
		c.end()
		return
	}
	c.sock.Sip()
	l.begin(c)
}

// begin goes on with a conn on the lane of its room.
func (l *lane) begin(c *conn) {
	if c.opening.posting != nil {
		l.receive(c)
		return
	}
	l.join(c)
}

// join asks for the room. The socket rests until the answer.
func (l *lane) join(c *conn) {
	c.state, c.due = stateJoining, 0
	c.sock.Pause()
	c.member.ID = l.router.ids.Add(1)
	l.hub.Join(&c.member, []byte(c.opening.room), c.opening.options, l.loop.Now())
}

// sink is a lane as its hub sees it.
type sink lane

// Write is how the hub reaches a member's socket.
func (s *sink) Write(m *hub.Member, b []byte) int { return connOf(m).write(b) }

// Joined answers the handshake: from here on the client hears everything.
func (s *sink) Joined(m *hub.Member, first []byte) {
	if t := postOf(m); t != nil {
		(*lane)(s).joined(t)
		return
	}
	c := connOf(m)
	b := websocket.AppendSwitching(s.scratch[:0], c.opening.key, c.opening.protocol)
	b = append(b, first...)
	if n := c.put(b); n < len(b) {
		c.out = bytes.Clone(b[n:])
	}
	s.scratch = b[:0]
	c.state, c.opening, c.joined = stateOpen, nil, true
	s.router.open.Add(1)
	s.counters.Upgraded++
	s.counters.Open++
	// The first ping comes early for some, so that those who arrive together
	// are not pinged together for ever.
	every := s.router.cfg.PingEvery
	early := time.Duration(rand.Int64N(int64(every/2) + 1))
	c.heard = s.wheel.now - uint32(early/wheelTick)
	s.wheel.set(c, every-early)
	c.sock.Resume()
}

// Refused answers a handshake whose room could not be joined.
func (s *sink) Refused(m *hub.Member, code proto.Code) {
	if t := postOf(m); t != nil {
		(*lane)(s).finish(t, outcome{err: postError(code)})
		return
	}
	c := connOf(m)
	c.state = stateRequest // it is no member any more
	switch code {
	case proto.Unrecovered:
		c.comeBack()
	case proto.BadRoom:
		c.refuse(errBadRoom)
	case proto.Full:
		c.refuse(websocket.ErrFull)
	case proto.Denied:
		c.refuse(websocket.ErrForbidden)
	default:
		c.refuse(websocket.ErrUnavailable)
	}
}

// comeBack accepts a WebSocket and closes it: its position exists, and is not
// certain yet.
func (c *conn) comeBack() {
	c.lane.refused("unrecovered")
	c.lane.closed(websocket.CloseTryLater)
	c.out = websocket.AppendSwitching(c.out, c.opening.key, c.opening.protocol)
	c.out = websocket.AppendClose(c.out, websocket.CloseTryLater, "what comes up to your position is not certain yet; try again later")
	c.lastWords()
}

var errBadRoom = &websocket.HTTPError{Status: 400, Code: "bad_room", Message: "the owner of this room does not accept its name"}

// Resume goes on reading a socket that was pushed back.
func (s *sink) Resume(m *hub.Member) {
	if postOf(m) != nil {
		return // its socket is not read again anyway
	}
	c := connOf(m)
	c.pushed = false
	c.sock.Resume()
}

// Slow ends a member that fell behind. It can come back and resume.
func (s *sink) Slow(m *hub.Member) {
	s.counters.Slow++
	connOf(m).close(closeSlow, "slow: you fell behind, come back and resume")
}

// Expired ends a member whose message could not be placed.
func (s *sink) Expired(m *hub.Member) {
	if t := postOf(m); t != nil {
		(*lane)(s).finish(t, outcome{err: errUnknownFate})
		return
	}
	s.counters.Expired++
	connOf(m).close(websocket.CloseTryLater, "a message could not be delivered in time; its fate is unknown")
}

// Placed is for members with receipts: those of posts.
func (s *sink) Placed(m *hub.Member, at proto.Position, code proto.Code) {
	(*lane)(s).placed(postOf(m), at, code)
}

const closeSlow = 4008

// answer serves plain HTTP.
func (c *conn) answer(req *websocket.Request) {
	r := c.lane.router
	if _, err := c.checkSource(req); err != nil {
		c.refuse(err)
		return
	}
	if page, ok := r.cfg.Pages[req.Path]; ok {
		c.page(req, page)
		return
	}
	if req.Route != websocket.RouteHealth {
		c.refuse(websocket.ErrNotFound)
		return
	}
	if req.Method != "GET" && req.Method != "HEAD" {
		c.refuse(websocket.MethodNotAllowed("GET, HEAD"))
		return
	}
	a := websocket.Answer{Status: 200, ContentType: websocket.JSON, Body: []byte(`{"status":"ok"}` + "\n"), Head: req.Method == "HEAD"}
	if ok, reason := r.Healthy(); !ok {
		a.Status, a.Body = 503, []byte(`{"status":"`+reason+`"}`+"\n")
	}
	c.say(&a)
}

func (c *conn) page(req *websocket.Request, p Page) {
	if req.Method != "GET" && req.Method != "HEAD" {
		c.refuse(websocket.MethodNotAllowed("GET, HEAD"))
		return
	}
	c.say(&websocket.Answer{Status: 200, ContentType: p.Type, Body: p.Body, Head: req.Method == "HEAD",
		Header: "Content-Security-Policy: " + p.CSP + "\r\nReferrer-Policy: no-referrer\r\n"})
}

func (c *conn) say(a *websocket.Answer) {
	c.out = websocket.AppendAnswer(c.out, a)
	c.lastWords()
}
