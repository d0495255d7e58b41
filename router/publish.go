package router

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/router/websocket"
)

// A message over plain HTTP, POST /v1/rooms/{room}/messages: its conn goes to
// the lane of the room with its head read, like a WebSocket's. There the body is
// read, and a post made of it, which is a member of the room that hears nothing
// but where its own message went. Its answer is written when the message is
// acknowledged.

// posting is what a conn needs to publish over HTTP.
type posting struct {
	websocket.Publish
	expect bool  // the client waits for a word before it sends the body
	held   int   // bytes of the body that the lane counts
	post   *post // that is waited for, nil before the body is whole
	at     int   // the conn's place in post.waiting
}

// post is one message from the end of its body to its acknowledgement. It may
// outlive the conns that wait for it, when it has a key to be found by.
//
// Invariant: it is a member of its room until it is done.
type post struct {
	member    hub.Member // first, so that postOf finds its post
	body      []byte     // until it is published
	kind      proto.Kind
	published bool // it may be in the room: whatever is answered, it is not published again
	done      bool
	due       time.Time   // then an answer is given in any case
	key       *remembered // nil: none
	waiting   []*conn
}

// outcome is what a message came to: a place, or an error.
type outcome struct {
	position proto.Position
	err      *websocket.HTTPError
}

const (
	// postID marks the ids of posts among the ids of members. Those of conns
	// stay below it.
	postID = 1 << 63
	// postTime is how long a client is kept waiting for an answer.
	postTime = 60 * time.Second
	// maxWaiting bounds the conns that wait for one post.
	maxWaiting = 64
)

var (
	errPublishOff  = &websocket.HTTPError{Status: 404, Code: "not_found", Message: "publishing over HTTP is off here; see --api-key"}
	errNotText     = &websocket.HTTPError{Status: 400, Code: "bad_request", Message: "the message is not UTF-8; send binary ones with Content-Type: application/octet-stream"}
	errSlowBody    = &websocket.HTTPError{Status: 408, Code: "timeout", Message: "the message took too long to come; nothing was published"}
	errOtherBody   = &websocket.HTTPError{Status: 422, Code: "key_reused", Message: "this Idempotency-Key was used for another message in this room"}
	errManyKeys    = &websocket.HTTPError{Status: 429, Code: "rate_limited", Message: "this room has too many idempotency keys of the last 5 minutes; nothing was published", RetryAfter: 30}
	errManyWait    = &websocket.HTTPError{Status: 429, Code: "rate_limited", Message: "too many requests wait for the message of this Idempotency-Key", RetryAfter: 1}
	errBusy        = &websocket.HTTPError{Status: 503, Code: "full", Message: "this router has all the unacknowledged messages it can hold; nothing was published", RetryAfter: 1}
	errOwnerFull   = &websocket.HTTPError{Status: 503, Code: "full", Message: "the owner of this room has no space for it; nothing was published", RetryAfter: 5}
	errUnreached   = &websocket.HTTPError{Status: 503, Code: "unavailable", Message: "the owner of this room does not answer; nothing was published", RetryAfter: 1}
	errUnknownFate = &websocket.HTTPError{Status: 504, Code: "unacknowledged", Message: "the message was not acknowledged in time; whether it was published is unknown"}
)

// postOf finds the post that a member is embedded in, nil for a conn's member.
func postOf(m *hub.Member) *post {
	if m.ID&postID == 0 {
		return nil
	}
	return (*post)(unsafe.Pointer(m)) // member is post's first field
}

// ask begins a publish over HTTP: it judges the head, and goes to the lane of
// the room.
func (c *conn) ask(req *websocket.Request, b []byte, n int) int {
	p, err := c.admitPost(req)
	if err != nil {
		c.refuse(err)
		return len(b)
	}
	c.opening.posting = &posting{Publish: p, expect: req.Expect}
	c.opening.room = p.Room
	return c.settle(b, n)
}

// admitPost judges who may publish here, and what.
func (c *conn) admitPost(req *websocket.Request) (websocket.Publish, *websocket.HTTPError) {
	r := c.lane.router
	if r.APIKeys() == 0 {
		return websocket.Publish{}, errPublishOff
	}
	ip, err := c.checkSource(req)
	if err != nil {
		return websocket.Publish{}, err
	}
	if !r.authorized(req.Bearer) {
		return websocket.Publish{}, websocket.ErrUnauthorized
	}
	p, err := req.Publish(&r.limits)
	switch {
	case err != nil:
		return p, err
	case r.draining.Load():
		return p, websocket.ErrDraining
	case c.opening.full:
		return p, websocket.ErrFull
	}
	return p, c.enter(ip)
}

// apiKeys are hashes of them, so that they compare alike.
type apiKeys [][sha256.Size]byte

// SetAPIKeys has the router take other keys from now on; with none, publishing
// over HTTP is off. What was let in is finished. It may be called from any
// goroutine.
func (r *Router) SetAPIKeys(keys []string) error {
	hashes := make(apiKeys, len(keys))
	for i, key := range keys {
		if key == "" {
			return errors.New("an api key is empty")
		}
		hashes[i] = sha256.Sum256([]byte(key))
	}
	r.apiKeys.Store(&hashes)
	return nil
}

// APIKeys is how many keys are taken.
func (r *Router) APIKeys() int { return len(*r.apiKeys.Load()) }

// authorized compares in a time that depends on nothing but the number of keys.
func (r *Router) authorized(bearer string) bool {
	sum := sha256.Sum256([]byte(bearer))
	found := 0
	for _, key := range *r.apiKeys.Load() {
		found |= subtle.ConstantTimeCompare(sum[:], key[:])
	}
	return found == 1
}

// receive begins to read the body, on the lane of the room.
func (l *lane) receive(c *conn) {
	p := c.opening.posting
	c.state = stateBody
	l.wheel.set(c, messageTime)
	if p.expect {
		if n := c.put([]byte(websocket.Continue)); n < len(websocket.Continue) {
			c.out = []byte(websocket.Continue[n:])
		}
	}
	c.body(nil) // there may be none
}

// body takes what came of a body.
func (c *conn) body(b []byte) int {
	l, p := c.lane, c.opening.posting
	used, done, err := p.Body.Next(b)
	l.bodies += p.Body.Held() - p.held
	p.held = p.Body.Held()
	if err == nil && l.bodies > l.maxBodies {
		err = errBusy
	}
	switch {
	case err != nil:
		c.refuse(err)
		return len(b)
	case done:
		c.state, c.due = stateWaiting, 0
		c.sock.Pause()
		l.publish(c)
	}
	return used
}

// publish makes a post of a whole body, or finds the one that it repeats.
func (l *lane) publish(c *conn) {
	p := c.opening.posting
	body, now := p.Body.Data(), l.loop.Now()
	if !p.Binary && !utf8.Valid(body) {
		c.refuse(errNotText)
		return
	}
	t := &post{body: body, kind: proto.KindText, due: now.Add(postTime)}
	if p.Binary {
		t.kind = proto.KindBinary
	}
	if p.Key != "" {
		known, err := l.recall(p, t, now)
		switch {
		case err != nil:
			c.refuse(err)
			return
		case known != nil && known.post == nil:
			c.tell(known.outcome)
			return
		case known != nil:
			l.release(c.opening)
			p.Body = websocket.Body{}
			known.post.wait(c)
			return
		}
	}
	if l.hub.Full() {
		l.forget(t)
		c.refuse(errBusy)
		return
	}
	l.counters.Posts++
	l.counters.Bytes += uint64(len(body))
	p.Body, p.held = websocket.Body{}, 0 // the post has it now, and the lane counts it on
	t.member.ID = l.router.ids.Add(1) | postID
	t.wait(c)
	l.posts = append(l.posts, t)
	l.hub.Join(&t.member, []byte(p.Room), hub.JoinOptions{Receipts: true}, now)
}

// recall returns what is remembered of the key, nil when it is new and t is to
// be published; or why it cannot be used.
func (l *lane) recall(p *posting, t *post, now time.Time) (*remembered, *websocket.HTTPError) {
	r, what := l.keys.use(keyName{p.Room, p.Key}, digest(sha256.Sum256(append([]byte{byte(t.kind)}, t.body...))), now)
	switch what {
	case recallOther:
		return nil, errOtherBody
	case recallRoomFull:
		return nil, errManyKeys
	case recallFull:
		return nil, errBusy
	case recallSame:
		if r.post != nil && len(r.post.waiting) >= maxWaiting {
			return nil, errManyWait
		}
		return r, nil
	}
	r.post, t.key = t, r
	return nil, nil
}

func (l *lane) forget(t *post) {
	if t.key != nil {
		t.key.post = nil
		l.keys.forget(t.key)
		t.key = nil
	}
}

func (t *post) wait(c *conn) {
	p := c.opening.posting
	p.post, p.at = t, len(t.waiting)
	t.waiting = append(t.waiting, c)
}

// unwait takes a conn that is gone from those that wait. A message that nobody
// waits for, and that nobody can ask for by a key, needs no receipt.
func (l *lane) unwait(c *conn) {
	p := c.opening.posting
	t := p.post
	if t == nil || t.done {
		return
	}
	last := len(t.waiting) - 1
	t.waiting[p.at] = t.waiting[last]
	t.waiting[p.at].opening.posting.at = p.at
	t.waiting[last] = nil
	t.waiting = t.waiting[:last]
	if last == 0 && t.key == nil {
		l.settle(t)
		l.hub.Leave(&t.member, l.loop.Now())
	}
}

// settle ends a post's work here.
func (l *lane) settle(t *post) {
	t.done = true
	l.settled++
	l.freeBody(t)
}

// freeBody gives up the post's copy of its message.
func (l *lane) freeBody(t *post) {
	l.bodies -= cap(t.body)
	t.body = nil
}

// release takes the body that a conn still has off the lane's account.
func (l *lane) release(o *opening) {
	if o != nil && o.posting != nil {
		l.bodies -= o.posting.held
		o.posting.held = 0
	}
}

// finish answers all who wait. The caller takes the member out of its room.
func (l *lane) finish(t *post, o outcome) {
	if t.done {
		return
	}
	l.settle(t)
	switch {
	case t.key == nil:
	case !t.published:
		l.forget(t) // it can be tried again
	default:
		t.key.post, t.key.outcome = nil, o
	}
	waiting := t.waiting
	t.waiting = nil
	for _, c := range waiting {
		c.tell(o)
	}
}

// tell answers a conn that waits.
func (c *conn) tell(o outcome) {
	if o.err != nil {
		c.refuse(o.err)
		return
	}
	b := []byte(`{"epoch":"`)
	if !o.position.Epoch.IsZero() {
		b = append(b, o.position.Epoch.String()...)
	}
	b = append(b, `","offset":`...)
	b = strconv.AppendUint(b, uint64(o.position.Offset), 10)
	c.say(&websocket.Answer{Status: 200, ContentType: websocket.JSON, Body: append(b, "}\n"...)})
}

// tickPosts answers those whose time is over. They are in the order of their
// due, so those behind the first that is not due need no look.
func (l *lane) tickPosts(now time.Time) {
	for _, t := range l.posts {
		if t.done {
			continue
		}
		if now.Before(t.due) {
			break
		}
		l.finish(t, outcome{err: t.late()})
		l.hub.Leave(&t.member, now)
	}
	if l.settled > len(l.posts)/2 {
		l.posts = slices.DeleteFunc(l.posts, func(t *post) bool { return t.done })
		l.settled = 0
	}
	l.keys.expire(now)
}

// late is the answer when time is over.
func (t *post) late() *websocket.HTTPError {
	if t.published {
		return errUnknownFate
	}
	return errUnreached
}

// hurryPosts leaves those under way a last moment before the router ends.
func (l *lane) hurryPosts(now time.Time) {
	for _, t := range l.posts {
		if last := now.Add(ownersTime); t.due.After(last) {
			t.due = last
		}
	}
}

// joined publishes: the room is attached, so the message will be heard here.
func (l *lane) joined(t *post) {
	t.published = true
	l.hub.Publish(&t.member, t.kind, t.body, l.loop.Now())
	l.freeBody(t)
}

// placed ends a post whose message has its place, or was refused.
func (l *lane) placed(t *post, at proto.Position, code proto.Code) {
	o := outcome{position: at}
	if code != proto.OK {
		o.err = postError(code)
	}
	l.finish(t, o)
	l.hub.Leave(&t.member, l.loop.Now())
}

// postError is the answer for an owner's refusal.
func postError(code proto.Code) *websocket.HTTPError {
	switch code {
	case proto.BadRoom:
		return errBadRoom
	case proto.TooBig:
		return websocket.ErrTooLarge
	case proto.Full:
		return errOwnerFull
	case proto.Denied:
		return websocket.ErrForbidden
	}
	return errUnreached
}
