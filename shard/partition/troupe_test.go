package partition

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// troupe is some shards, a router that publishes and hears, the links between
// them, and a Table that grants wishes. All is driven by one seed: frames are
// late, control frames overtake data frames, links break, rows arrive late or
// never, owners are declared dead that are not, shards lose their memory.
type troupe struct {
	t      testing.TB
	rnd    *rand.Rand
	now    time.Time
	br     Break
	cfg    Config
	hosts  []*host
	router *voice
	cords  []*cord
	loose  []*cord // that are broken for a while
	born   int     // hosts so far

	row    Row
	wishes []proto.Wish
	calm   bool // nothing breaks any more

	rooms []string
	tight bool // little is kept, rooms come and go, and nobody listens

	content map[string]string // by room, epoch and offset
	fail    error
	did     map[string]int
}

// host is one run of a shard.
type host struct {
	name  proto.NodeName
	l     *Lane
	dead  bool
	dirty []*Peer
}

// voice is a router: it publishes in order, sends again what is not
// acknowledged, and hears two rooms.
type voice struct {
	row   Row
	next  proto.Seq
	queue []proto.Publish
	acked proto.Seq
	hold  proto.Seq // publishes from here on are kept; 0 for none
	heard map[string]*ear
}

type ear struct {
	epoch proto.Epoch
	at    proto.Offset
	lines []string
}

// cord is a link between two hosts, or a host and the router.
type cord struct {
	a, b   *host // b is nil for the router
	pa, pb *Peer // b as a knows it, and the other way round
	ab, ba strand
}

// strand is one direction of a cord.
type strand struct{ control, data [][]byte }

func newTroupe(t testing.TB, seed uint64, br Break) *troupe {
	w := &troupe{
		t: t, rnd: rand.New(rand.NewPCG(seed, 9)), now: time.Unix(1000, 0), br: br,
		content: map[string]string{}, did: map[string]int{},
		router: &voice{heard: map[string]*ear{"one": {}, "two": {}}},
		rooms:  []string{"one", "two"}, tight: seed%3 == 2,
	}
	if w.tight {
		w.router.heard = nil
		for i := range 20 {
			w.rooms = append(w.rooms, fmt.Sprint("room", i))
		}
	}
	for range 3 {
		w.start()
	}
	w.row = Row{Owner: w.hosts[0].name, Term: 1, Since: 1}
	w.spread(w.hosts[0])
	return w
}

func (w *troupe) failf(format string, args ...any) {
	if w.fail == nil {
		w.fail = fmt.Errorf(format, args...)
	}
}

// start begins a shard, with links to all others.
func (w *troupe) start() *host {
	w.born++
	h := &host{name: proto.MakeNodeName("s", proto.Incarnation(w.born))}
	bits := uint64(w.born) << 32
	cfg := w.cfg
	cfg.Self, cfg.Partitions, cfg.Break, cfg.SnapshotRate = h.name, 1, w.br, -1
	cfg.HistoryMessages, cfg.HistoryAge = 10_000, time.Hour
	if w.tight {
		cfg.HistoryMessages, cfg.HistoryAge, cfg.WindowAge = 4, 500*time.Millisecond, 100*time.Millisecond
		cfg.SnapshotRate = 20_000
	}
	cfg.Bits = func() uint64 { bits++; return bits }
	h.l = NewLane(cfg)
	w.hosts = append(w.hosts, h)
	for _, o := range w.hosts {
		if !o.dead && o != h {
			w.tie(o, h)
		}
	}
	w.tie(h, nil)
	return h
}

func (w *troupe) tie(a, b *host) {
	c := &cord{a: a, b: b}
	if b != nil {
		c.pa = a.l.ShardUp(b.name, 0, 1)
		c.pb = b.l.ShardUp(a.name, 0, 1)
		c.pb.Tag = &c.ba
	} else {
		c.pa = a.l.RouterUp(routerName("r1"), 0, 1)
	}
	c.pa.Tag = &c.ab
	w.cords = append(w.cords, c)
	if b == nil && a.name == w.router.row.Owner {
		w.begin()
	}
}

// cut breaks a cord; it is tied again at once, with nothing on it.
func (w *troupe) cut(c *cord, again bool) {
	w.cords = slices.DeleteFunc(w.cords, func(o *cord) bool { return o == c })
	c.a.l.Down(c.pa)
	if c.b != nil {
		c.b.l.Down(c.pb)
	}
	if again {
		w.tie(c.a, c.b)
	} else {
		w.loose = append(w.loose, c)
	}
}

// mend ties a cord that was broken for a while.
func (w *troupe) mend() {
	if len(w.loose) == 0 {
		return
	}
	c := w.loose[0]
	w.loose = w.loose[1:]
	if !c.a.dead && (c.b == nil || !c.b.dead) {
		w.tie(c.a, c.b)
	}
}

func (w *troupe) host(name proto.NodeName) *host {
	for _, h := range w.hosts {
		if h.name == name && !h.dead {
			return h
		}
	}
	return nil
}

func (w *troupe) living() (out []*host) {
	for _, h := range w.hosts {
		if !h.dead {
			out = append(out, h)
		}
	}
	return out
}

// spread tells a host of the row.
func (w *troupe) spread(h *host) { h.l.SetTable(0, w.row, w.now) }

// pass lets time pass, and each host fill its links.
func (w *troupe) pass(d time.Duration, tick bool) {
	w.now = w.now.Add(d)
	for _, h := range w.living() {
		if tick {
			h.l.Tick(w.now)
		}
		h.dirty = h.l.Dirty(h.dirty[:0])
		for _, r := range h.dirty {
			q := r.Tag.(*strand)
			q.control = append(q.control, frames(w.t, h.l.Control(r, nil))...)
			if len(q.data) < 20 {
				limit := proto.MaxFrame
				if w.rnd.IntN(3) == 0 {
					limit = 300 + w.rnd.IntN(2000)
				}
				q.data = append(q.data, frames(w.t, h.l.Fill(r, nil, limit))...)
			}
		}
		w.wishes = append(w.wishes, h.l.Wishes(nil, w.now)...)
	}
}

func frames(t testing.TB, b []byte) (out [][]byte) {
	for len(b) > 0 {
		_, size, err := proto.ParseHeader(b)
		check(t, err)
		out = append(out, b[:size])
		b = b[size:]
	}
	return out
}

// arrive has one frame arrive somewhere; it reports false when none is on its way.
func (w *troupe) arrive() bool {
	var ready []func()
	for _, c := range w.cords {
		c := c
		for _, q := range []*[][]byte{&c.ab.control, &c.ab.data} {
			if len(*q) > 0 {
				ready = append(ready, func() { w.take(c.b, c.pb, c, q) })
			}
		}
		for _, q := range []*[][]byte{&c.ba.control, &c.ba.data} {
			if len(*q) > 0 {
				ready = append(ready, func() { w.take(c.a, c.pa, c, q) })
			}
		}
	}
	if len(ready) == 0 {
		return false
	}
	ready[w.rnd.IntN(len(ready))]()
	return true
}

func (w *troupe) take(h *host, r *Peer, c *cord, q *[][]byte) {
	f := (*q)[0]
	*q = (*q)[1:]
	typ, body := proto.FrameType(f[4]), f[proto.HeaderSize:]
	if h == nil {
		w.hear(c, typ, body)
		return
	}
	if err := h.l.Frame(r, typ, body, w.now); err != nil {
		w.failf("%s: %v", h.name, err)
	}
}

// toOwner is the router's way to who it thinks the owner is.
func (w *troupe) toOwner() *cord {
	for _, c := range w.cords {
		if c.b == nil && c.a.name == w.router.row.Owner {
			return c
		}
	}
	return nil
}

// begin has the router attach and send everything in the term that it knows.
func (w *troupe) begin() {
	v := w.router
	v.hold = 0
	c := w.toOwner()
	if c == nil {
		return
	}
	b, start := proto.BeginBatch(nil, proto.FrameAttach, 0, v.row.Term)
	for _, name := range w.rooms {
		e := v.heard[name]
		if e == nil {
			continue
		}
		b = proto.AppendAttachEntry(b, name, e.epoch, e.at)
	}
	c.ba.data = append(c.ba.data, proto.End(b, start))
	w.transmit(0)
}

func (w *troupe) transmit(from proto.Seq) {
	v := w.router
	c := w.toOwner()
	for _, x := range v.queue {
		if x.Seq >= from && c != nil && (v.hold == 0 || x.Seq < v.hold) {
			x.Term, x.Base = v.row.Term, v.queue[0].Seq
			c.ba.data = append(c.ba.data, proto.AppendPublish(nil, &x))
		}
	}
}

func (w *troupe) publish() {
	v := w.router
	v.next++
	room := w.rooms[w.rnd.IntN(len(w.rooms))]
	v.queue = append(v.queue, proto.Publish{Seq: v.next, Conn: 7, Room: []byte(room), Payload: fmt.Appendf(nil, "%s-%d-%s", room, v.next, strings.Repeat("x", w.rnd.IntN(300)))})
	w.transmit(v.next)
}

// learn has the router know the row.
func (w *troupe) learn() {
	if w.router.row.Term < w.row.Term {
		w.router.row = w.row
		w.begin()
	}
}

// hear takes what the router is sent.
func (w *troupe) hear(c *cord, typ proto.FrameType, body []byte) {
	v := w.router
	_, term, err := proto.ParseHead(body)
	check(w.t, err)
	switch typ {
	case proto.FrameAck:
		x, err := proto.ParseAck(body)
		check(w.t, err)
		v.acked = max(v.acked, x.Upto)
		v.queue = slices.DeleteFunc(v.queue, func(p proto.Publish) bool { return p.Seq <= x.Upto })
		return
	case proto.FrameDeliver:
		x, err := proto.ParseDeliver(body)
		check(w.t, err)
		w.delivered(&x)
		return
	}
	if term != v.row.Term || c.a.name != v.row.Owner {
		return
	}
	switch typ {
	case proto.FrameAttached:
		w.attached(body)
	case proto.FrameExpect, proto.FrameHold:
		x, err := proto.ParseSignal(typ, body)
		check(w.t, err)
		if typ == proto.FrameExpect {
			w.transmit(x.Seq)
		} else {
			v.hold = x.Seq
			w.did["hold"]++
		}
	case proto.FrameGo:
		from := v.hold
		v.hold = 0
		w.transmit(from)
	}
}

func (w *troupe) attached(body []byte) {
	x, err := proto.ParseBatch(body)
	check(w.t, err)
	for a, ok := x.NextAttached(); ok; a, ok = x.NextAttached() {
		e := w.router.heard[string(a.Room)]
		if a.Status != proto.StatusWhole && !e.epoch.IsZero() {
			w.failf("%s goes on with status %d at %s.%d, was at %s.%d", a.Room, a.Status, a.Epoch, a.Offset, e.epoch, e.at)
		}
		if e.epoch.IsZero() {
			e.epoch, e.at = a.Epoch, a.Offset
		}
	}
}

// delivered compares what is heard with what anybody heard at that place.
func (w *troupe) delivered(x *proto.Deliver) {
	e := w.router.heard[string(x.Room)]
	o := x.Offset
	for m, ok := x.Messages.Next(); ok; m, ok = x.Messages.Next() {
		w.place(string(x.Room), x.Epoch, o, string(m.Payload))
		if x.Epoch == e.epoch && o == e.at+1 {
			e.at = o
			e.lines = append(e.lines, string(m.Payload))
		}
		o++
	}
}

func (w *troupe) place(room string, epoch proto.Epoch, o proto.Offset, payload string) {
	key := fmt.Sprintf("%s %s.%d", room, epoch, o)
	if was, ok := w.content[key]; ok && was != payload {
		w.failf("%s is %.20q and %.20q", key, was, payload)
	}
	w.content[key] = payload
}

// The Table.

func (w *troupe) change(owner proto.NodeName, followers []proto.NodeName, why string) {
	w.row = Row{Owner: owner, Followers: followers, Term: w.row.Term + 1, Since: w.row.Since}
	w.did[why]++
}

func without(list []proto.NodeName, name proto.NodeName) []proto.NodeName {
	return slices.DeleteFunc(slices.Clone(list), func(n proto.NodeName) bool { return n == name })
}

// grant answers one wish.
func (w *troupe) grant() {
	if len(w.wishes) == 0 {
		return
	}
	x := w.wishes[0]
	w.wishes = w.wishes[1:]
	if x.Term != w.row.Term || w.host(w.row.Owner) == nil {
		return // an owner that died must not take the last copy out of the row
	}
	switch x.Kind {
	case proto.WishDrop:
		if w.host(x.Node) == nil {
			w.change(w.row.Owner, without(w.row.Followers, x.Node), "drop")
		}
	case proto.WishOverdue:
		w.change(w.row.Owner, without(w.row.Followers, x.Node), "overdue")
	case proto.WishAdd:
		w.change(w.row.Owner, append([]proto.NodeName{x.Node}, without(w.row.Followers, x.Node)...), "add")
		if w.host(x.Node) == nil || len(w.row.Followers) > 2 {
			w.row.Followers = without(w.row.Followers, w.row.Followers[len(w.row.Followers)-1])
		}
	case proto.WishReady:
		if w.row.Freezing && w.row.Learner == x.Node && w.host(x.Node) != nil {
			w.change(x.Node, append(without(w.row.Followers, x.Node), w.row.Owner), "ready")
		}
	case proto.WishUndo:
		w.row.Learner, w.row.Freezing = "", false
		w.did["undo"]++
	case proto.WishRenew:
		w.row.Term = max(w.row.Term, x.Above)
		w.change(w.row.Owner, w.row.Followers, "renew")
	}
}

// promote has a follower promise, and makes it the owner.
func (w *troupe) promote() {
	if len(w.row.Followers) == 0 {
		return
	}
	h := w.host(w.row.Followers[w.rnd.IntN(len(w.row.Followers))])
	if h == nil {
		return
	}
	term := w.row.Term + 1
	if h.l.Promise(0, term, w.now) != proto.Promised {
		return
	}
	if w.rnd.IntN(4) == 0 && w.host(w.row.Owner) != nil && !w.calm {
		w.did["broken promise"]++
		return // the coordinator dies, and the next one finds the owner well
	}
	followers := without(w.row.Followers, h.name)
	followers = slices.DeleteFunc(followers, func(n proto.NodeName) bool { return w.host(n) == nil })
	w.change(h.name, followers, "promote")
}

// move begins a refill or a hand-off.
func (w *troupe) move() {
	var others []*host
	for _, h := range w.living() {
		if h.name != w.row.Owner {
			others = append(others, h)
		}
	}
	if w.host(w.row.Owner) == nil || len(others) == 0 {
		return
	}
	if w.row.Learner != "" && w.host(w.row.Learner) == nil {
		w.change(w.row.Owner, w.row.Followers, "ended")
		return
	}
	h := others[w.rnd.IntN(len(others))]
	in := slices.Contains(w.row.Followers, h.name)
	switch {
	case w.row.Learner != "" && w.rnd.IntN(3) == 0 && !w.calm:
		if slices.Contains(w.row.Followers, w.row.Learner) {
			w.row.Learner, w.row.Freezing = "", false
		} else { // an add may be under way
			w.change(w.row.Owner, w.row.Followers, "ended")
		}
	case in && !w.calm:
		w.row.Learner, w.row.Freezing = h.name, true
	case !in && w.row.Learner == "" && (!w.calm || len(w.row.Followers) == 0):
		w.row.Learner, w.row.Freezing = h.name, false
	}
}

// crash has a shard lose its memory, if a copy is left that is in sync.
func (w *troupe) crash() {
	for _, f := range w.row.Followers {
		if w.host(f) == nil {
			return
		}
	}
	if len(w.row.Followers) == 0 || w.host(w.row.Owner) == nil || w.row.Learner != "" && w.rnd.IntN(2) == 0 {
		return
	}
	living := w.living()
	h := living[w.rnd.IntN(len(living))]
	h.dead = true
	for _, c := range slices.Clone(w.cords) {
		if c.a == h || c.b == h {
			w.cutDead(c, h)
		}
	}
	w.did["crash"]++
	w.start()
}

// cutDead breaks a cord of a host that is dead.
func (w *troupe) cutDead(c *cord, dead *host) {
	w.cords = slices.DeleteFunc(w.cords, func(o *cord) bool { return o == c })
	if c.a != dead {
		c.a.l.Down(c.pa)
	} else if c.b != nil {
		c.b.l.Down(c.pb)
	}
}

// step does one thing.
func (w *troupe) step() {
	switch n := w.rnd.IntN(100); {
	case n < 12:
		w.publish()
	case n < 16:
		w.pass(time.Duration(w.rnd.IntN(60))*time.Millisecond, true)
	case n < 30:
		w.pass(time.Duration(w.rnd.IntN(3))*time.Millisecond, false)
	case n < 34:
		living := w.living()
		w.spread(living[w.rnd.IntN(len(living))])
	case n < 36:
		w.learn()
	case n < 39:
		w.grant()
	case n < 40 && w.rnd.IntN(3) == 0:
		if len(w.cords) > 0 {
			w.cut(w.cords[w.rnd.IntN(len(w.cords))], w.rnd.IntN(2) == 0)
		}
	case n < 40:
		w.mend()
	case n < 41 && w.rnd.IntN(3) == 0:
		w.promote()
	case n < 42:
		w.move()
	case n < 43 && w.rnd.IntN(6) == 0:
		w.crash()
	case n < 44 && w.rnd.IntN(12) == 0:
		w.pass(40*time.Second, true) // long enough to forget rooms
	case n < 44:
		w.transmit(0)
	default:
		w.arrive()
	}
}

// settle lets everything come to rest.
func (w *troupe) settle() {
	w.calm = true
	for len(w.loose) > 0 {
		w.mend()
	}
	step := 25 * time.Millisecond
	if w.tight {
		step = 70 * time.Millisecond
	}
	for i := range 600 {
		if w.host(w.row.Owner) == nil {
			w.promote()
		} else if i%8 == 0 {
			w.move()
		}
		for len(w.wishes) > 0 {
			w.grant()
		}
		for _, h := range w.living() {
			w.spread(h)
		}
		w.learn()
		if i%20 == 0 {
			w.transmit(0)
		}
		w.pass(step, true)
		for range 1000 {
			if !w.arrive() {
				break
			}
			w.pass(0, false)
		}
	}
}

// rest has what time led to at last be everywhere.
func (w *troupe) rest() (err error) {
	for range 40 {
		if err = w.check(); err == nil || w.fail != nil {
			return err
		}
		w.pass(41*time.Millisecond, true)
		for w.arrive() {
			w.pass(0, false)
		}
	}
	return err
}

// check compares all copies, and what was acknowledged with what is there.
func (w *troupe) check() error {
	v := w.router
	if w.fail != nil {
		return w.fail
	}
	if len(v.queue) > 0 {
		return fmt.Errorf("%d publishes are not acknowledged; row %+v", len(v.queue), w.row)
	}
	if len(w.row.Followers) == 0 {
		return fmt.Errorf("nobody follows: %+v", w.row)
	}
	owner := w.host(w.row.Owner)
	i, sum, ok := owner.l.Digest(0)
	if !ok {
		return fmt.Errorf("the owner has no copy")
	}
	for _, f := range w.row.Followers {
		fi, fsum, ok := w.host(f).l.Digest(0)
		if !ok || fi != i || fsum != sum {
			return fmt.Errorf("%s has %d %x (%v), the owner has %d %x", f, fi, fsum, ok, i, sum)
		}
	}
	for _, h := range w.living() {
		w.did["forgotten"] += int(h.l.Stats().Forgotten)
		w.did["cut"] += int(h.l.Stats().Cut)
		w.did["learned"] += int(h.l.Stats().Learned)
		w.did["relearned"] += int(h.l.Stats().Relearned)
		if s := h.l.Stats(); s.Corrupt > 0 || s.Missing > 0 || s.HeldBytes > 0 || s.PendingBytes > 0 && w.row.names(h.name) {
			return fmt.Errorf("%s: %+v", h.name, s)
		}
	}
	return w.checkLog(owner)
}

func (w *troupe) checkLog(owner *host) error {
	seen := map[string]bool{}
	if w.tight {
		return nil
	}
	for _, name := range w.rooms {
		last := 0
		e := w.router.heard[name]
		i, ok := owner.l.Room(name)
		if !ok && len(e.lines) == 0 {
			continue
		}
		if i.Epoch != e.epoch || int(i.Offset) < len(e.lines) || i.Offset != e.at {
			return fmt.Errorf("%s is at %s.%d, heard up to %s.%d", name, i.Epoch, i.Offset, e.epoch, e.at)
		}
		var wrong error
		owner.l.rooms[name].log.Walk(0, i.Offset, func(o proto.Offset, m *room.Message) bool {
			w.place(name, i.Epoch, o, string(m.Payload))
			var n int
			if _, err := fmt.Sscanf(string(m.Payload), name+"-%d-", &n); err != nil || n <= last {
				wrong = fmt.Errorf("%s.%d is %.20q behind number %d", name, o, m.Payload, last)
			}
			last = n
			seen[fmt.Sprint(n)] = true
			return wrong == nil
		})
		if wrong != nil || w.fail != nil {
			return cmp.Or(wrong, w.fail)
		}
	}
	if len(seen) != int(w.router.next) {
		return fmt.Errorf("%d of %d publishes are in the logs", len(seen), w.router.next)
	}
	return nil
}

// perform plays one seed.
func perform(t testing.TB, seed uint64, br Break, steps int) (*troupe, error) {
	w := newTroupe(t, seed, br)
	for range steps {
		if w.step(); w.fail != nil {
			return w, w.fail
		}
	}
	w.settle()
	return w, w.rest()
}

func TestNothingCommittedIsLost(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(60) {
		w, err := perform(t, seed, 0, 3000)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		for k, n := range w.did {
			did[k] += n
		}
	}
	for _, what := range []string{"add", "drop", "overdue", "promote", "ready", "renew", "undo", "crash", "broken promise", "hold", "cut", "learned", "relearned", "forgotten"} {
		if did[what] == 0 {
			t.Errorf("there was never a %s: the test shows nothing about it", what)
		}
	}
}

// TestBrokenRulesOfCopiesAreCaught switches rules off, one at a time: the checks
// above must see it.
func TestBrokenRulesOfCopiesAreCaught(t *testing.T) {
	for name, br := range map[string]Break{"R1": BreakCommit, "R2": BreakFence, "R4": BreakLearner, "R5": BreakDrop} {
		caught, seeds := 0, uint64(0)
		for ; caught < 2 && seeds < 300; seeds++ {
			if _, err := perform(t, seeds, br, 3000); err != nil {
				caught++
			}
		}
		if caught < 2 {
			t.Errorf("without %s: caught in %d of %d runs", name, caught, seeds)
		}
	}
}
