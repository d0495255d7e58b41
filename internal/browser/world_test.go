package browser

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

// partitions is as many as a real cluster has.
const partitions = 4093

// perTick is how many partitions a world moves in each tick.
const (
	perTick = 32
	tick    = 100 * time.Millisecond
)

// world is a scripted cluster behind an admin.Source: it does at once, and
// again, what a real one does rarely. It keeps no rule of the real one but what
// a page can see.
type world struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and made anew at each change
	begun    time.Time
	founded  bool
	version  uint64
	nodes    map[string]*run // by id: a world has one run of each
	names    []string        // ids, shards and routers, in the order of their coming
	owner    [partitions]string
	follower [partitions]string
	wanted   [partitions]string
	moves    []admin.RingMove
	feed     []admin.FeedEvent
	settled  bool
	down     bool // streams end and none begins
	chance   *rand.Rand
}

// run is one node of a world.
type run struct {
	admin.RingNode
	silent bool
	gone   bool // left, not in lists any more
	speed  float64
	from   time.Time
}

// newWorld is a settled cluster of shards s1, s2, ….
func newWorld(shards, routers int) *world { return newNamedWorld("s", shards, routers) }

// newNamedWorld has shards whose ids begin with prefix.
func newNamedWorld(prefix string, shards, routers int) *world {
	w := &world{changed: make(chan struct{}), begun: time.Now(), founded: true, nodes: map[string]*run{}, settled: true, chance: rand.New(rand.NewPCG(1, uint64(shards)))}
	for i := range shards {
		w.add("shard", fmt.Sprintf("%s%d", prefix, i+1), string(rune('a'+i%3)))
	}
	for i := range routers {
		w.add("router", fmt.Sprintf("r%d", i+1), "")
	}
	for p := range partitions {
		w.owner[p] = fmt.Sprintf("%s%d", prefix, 1+w.chance.IntN(shards))
		w.wanted[p] = w.owner[p]
		w.follower[p] = w.other(w.owner[p])
	}
	w.say(admin.FeedFounded, "", "", "", 0, "3 shards agreed")
	w.say(admin.FeedLeader, "s1", "", "", 0, "")
	w.say(admin.FeedSettled, "", "", "", 0, "")
	return w
}

func (w *world) add(role, id, zone string) {
	n := &run{from: time.Now(), speed: 200 + 300*w.chance.Float64()}
	n.RingNode = admin.RingNode{ID: proto.NodeID(id), Incarnation: "k3f9a7c2d1e0b", Role: role, State: "alive", Zone: zone, Admin: "127.0.0.1:1"}
	w.nodes[id] = n
	w.names = append(w.names, id)
}

// other is a living shard that is not id, "" when there is none.
func (w *world) other(id string) string {
	list := w.alive()
	list = slices.DeleteFunc(list, func(s string) bool { return s == id })
	if len(list) == 0 {
		return ""
	}
	return list[w.chance.IntN(len(list))]
}

func (w *world) alive() []string {
	var list []string
	for _, id := range w.names {
		if n := w.nodes[id]; n.Role == "shard" && n.State == "alive" && !n.gone {
			list = append(list, id)
		}
	}
	return list
}

func (w *world) say(kind, node, from, to string, count int, reason string) {
	e := admin.FeedEvent{Seq: uint64(len(w.feed) + 1), At: time.Now().UnixMilli(), Kind: kind, Node: proto.NodeID(node), From: proto.NodeID(from), To: proto.NodeID(to), Partitions: count, Reason: reason}
	for p := range min(count, 8) {
		e.Some = append(e.Some, proto.Partition(p*17))
	}
	w.feed = append(w.feed, e)
}

func (w *world) ring() {
	w.version++
	close(w.changed)
	w.changed = make(chan struct{})
}

// do is one command of the browser's script.
func (w *world) do(what, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.ring()
	switch what {
	case "join":
		return w.join(id)
	case "drain":
		return w.leave(id)
	case "kill":
		w.kill(id)
	case "suspect", "alive", "draining":
		w.nodes[id].State = what
		w.say(map[string]string{"suspect": admin.FeedSuspect, "alive": admin.FeedBack, "draining": admin.FeedDrain}[what], id, "", "", 0, "")
	case "silent":
		w.nodes[id].silent = true
	case "answers":
		w.nodes[id].silent = false
	case "restart": // totals begin again
		w.nodes[id].from = time.Now()
		w.nodes[id].Incarnation = "zzzz" + w.nodes[id].Incarnation[4:]
	case "orphan": // nobody owns a hundred partitions
		for p := range 100 {
			w.owner[p], w.follower[p] = "", ""
		}
		w.settled = false
	case "down":
		w.down = true
	case "up":
		w.down = false
	case "unfounded":
		w.founded = false
		for p := range partitions {
			w.owner[p], w.follower[p], w.wanted[p] = "", "", ""
		}
	default:
		return fmt.Errorf("no command %q", what)
	}
	return nil
}

// join adds a shard and wants its share there.
func (w *world) join(id string) error {
	w.add("shard", id, "a")
	w.say(admin.FeedJoin, id, "", "", 0, "")
	w.say(admin.FeedUnsettled, "", "", "", 0, "")
	n := len(w.alive())
	for p := range partitions {
		if w.chance.IntN(n) == 0 {
			w.wanted[p] = id
		}
	}
	w.settled = false
	return nil
}

func (w *world) leave(id string) error {
	n := w.nodes[id]
	if n == nil {
		return admin.UnknownNode(id)
	}
	if n.State != "alive" {
		return admin.NotAlive(proto.NodeName(id+"/"+n.Incarnation), n.State)
	}
	n.State = "draining"
	w.say(admin.FeedDrain, id, "", "", 0, "asked to, by POST /v1/drain")
	for p := range partitions {
		if w.wanted[p] == id {
			w.wanted[p] = w.other(id)
		}
	}
	w.settled = false
	return nil
}

func (w *world) kill(id string) {
	n := w.nodes[id]
	n.State = "dead"
	w.settled = false
	w.say(admin.FeedDeath, id, "", "", 0, "its address refuses links, two nodes saw it")
	lost := map[string]int{}
	for p := range partitions {
		if w.owner[p] == id {
			to := w.follower[p]
			lost[to]++
			w.owner[p], w.wanted[p], w.follower[p] = to, to, ""
		} else if w.follower[p] == id {
			w.follower[p] = ""
		}
	}
	for to, n := range lost {
		w.say(admin.FeedFailover, "", id, to, n, "its owner died")
	}
}

// step goes on with what is under way; it is called once a tick.
func (w *world) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled || !w.founded {
		return
	}
	// Those that were shown as moves last time have moved now.
	for _, m := range w.moves {
		if m.From != "" {
			w.follower[m.Partition] = w.owner[m.Partition]
			w.owner[m.Partition] = string(m.To)
		} else {
			w.follower[m.Partition] = string(m.To)
		}
	}
	w.tellMoves()
	w.moves = w.moves[:0]
	for p := range partitions {
		if len(w.moves) == perTick {
			break
		}
		from, to := w.owner[p], w.wanted[p]
		switch {
		case to != "" && from != to && from != "":
			w.moves = append(w.moves, admin.RingMove{Partition: proto.Partition(p), From: proto.NodeID(from), To: proto.NodeID(to), State: []string{"learning", "freezing"}[p%2]})
		case from != "" && (w.follower[p] == "" || w.follower[p] == from) && len(w.alive()) > 1:
			w.moves = append(w.moves, admin.RingMove{Partition: proto.Partition(p), To: proto.NodeID(w.other(from)), State: "learning"})
		}
	}
	if len(w.moves) == 0 {
		w.finish()
	}
	w.ring()
}

func (w *world) tellMoves() {
	type way struct{ from, to proto.NodeID }
	ways := map[way]int{}
	for _, m := range w.moves {
		ways[way{m.From, m.To}]++
	}
	for k, n := range ways {
		kind := admin.FeedHandoff
		if k.from == "" {
			kind = admin.FeedCopy
		}
		w.say(kind, "", string(k.from), string(k.to), n, "")
	}
}

func (w *world) finish() {
	for p := range partitions {
		if w.owner[p] == "" {
			return // orphans stay
		}
	}
	w.settled = true
	w.say(admin.FeedSettled, "", "", "", 0, "")
	for _, n := range w.nodes {
		if n.State == "draining" {
			n.gone = true
			w.say(admin.FeedLeft, string(n.ID), "", "", 0, "drained")
		}
	}
}

// live moves the world until ctx ends.
func (w *world) live(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.step()
		case <-ctx.Done():
			return
		}
	}
}

// list is the nodes as events and documents name them.
func (w *world) list() []*run {
	var list []*run
	for _, id := range w.names {
		if n := w.nodes[id]; !n.gone {
			n.Owned, n.Following = 0, 0
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *run) int { return cmp.Compare(a.ID, b.ID) })
	for p := range partitions {
		if n := w.nodes[w.owner[p]]; n != nil {
			n.Owned++
		}
		if n := w.nodes[w.follower[p]]; n != nil {
			n.Following++
		}
	}
	return list
}

// picture is the whole ring.
func (w *world) picture() admin.RingEvent {
	list := w.list()
	e := admin.RingEvent{Asked: "s1", Cluster: "orders-production", Settled: w.settled, Partitions: partitions, Voters: []proto.NodeID{"s1", "s2", "s3"}, Leader: "s1", Version: w.version}
	if w.founded {
		e.Instance = "0123456789abcdef0123456789abcdef"
	}
	place := map[string]int{"": -1}
	for i, n := range list {
		place[string(n.ID)] = i
		e.Nodes = append(e.Nodes, n.RingNode)
	}
	at := func(id string) int {
		if i, ok := place[id]; ok {
			return i
		}
		return -1
	}
	for p := range partitions {
		e.Rows = append(e.Rows, [4]int{p, at(w.owner[p]), at(w.follower[p]), at(w.wanted[p])})
		if w.founded && w.follower[p] == "" {
			e.SingleCopy++
		}
	}
	e.Moves = slices.Clone(w.moves)
	return e
}

// named are rows with ids, which stay the same when the list of nodes changes.
func (w *world) named() [partitions][3]string {
	var rows [partitions][3]string
	for p := range partitions {
		rows[p] = [3]string{w.owner[p], w.follower[p], w.wanted[p]}
	}
	return rows
}

func (w *world) Ring(bool) any { return map[string]any{} }

func (w *world) Nodes(context.Context) admin.NodesDocument {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	d := admin.NodesDocument{Asked: "s1", Now: now.UnixMilli(), Complete: true}
	for _, n := range w.list() {
		f := admin.NodeFigures{ID: n.ID, Incarnation: n.Incarnation, Role: n.Role, State: n.State, Zone: n.Zone, Version: "v0.6.0", Owned: n.Owned, Following: n.Following,
			Voter: n.ID == "s1" || n.ID == "s2" || n.ID == "s3", Leader: n.ID == "s1", Admin: n.Admin, Reached: !n.silent && n.State != "dead"}
		if f.Reached {
			f.Told = told(n, now)
		} else if n.State != "dead" {
			d.Complete = false
		}
		if n.Role == "router" {
			f.Listen = "127.0.0.1:8000"
		}
		d.Nodes = append(d.Nodes, f)
	}
	slices.SortStableFunc(d.Nodes, func(a, b admin.NodeFigures) int { return -cmp.Compare(a.Role, b.Role) })
	return d
}

func told(n *run, now time.Time) admin.Told {
	s := now.Sub(n.from).Seconds()
	wave := n.speed * (s + 0.4*float64(now.UnixMilli()%20_000)/20_000)
	t := admin.Told{Started: n.from.UnixMilli(), Now: now.UnixMilli(), Ready: n.State != "draining", Rooms: 312 + int(s), Members: 1200, MessagesTotal: uint64(wave), DeliveriesTotal: uint64(5 * wave), Links: 4,
		LagEntries: int(n.speed) % 7, LagBytes: 812, Memory: admin.MemoryFigures{Used: int64(180+n.speed/3) << 20, Heap: 90 << 20, Limit: 1 << 30}, Descriptors: admin.DescriptorFigures{Open: 412, Limit: 65536}}
	if n.Role == "router" {
		t.Conns = 1000 + int(n.speed)
	}
	if !t.Ready {
		t.Reasons = []string{"draining"}
	}
	return t
}

// hostile are names that rooms may have and that have harmed other pages.
var hostile = []string{
	"<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\u202egnp.exe\u202c", "\u2066isolate", strings.Repeat("длинная-", 15), strings.Repeat("x", 255),
	"a/b?c=d&e#f%00", " spaces  in  it ", "שלום", "\u200b\u200b", "=1+1", "__proto__",
}

func (w *world) rooms() []admin.RoomFigures {
	var list []admin.RoomFigures
	for i := range 130 {
		name := fmt.Sprintf("room-%03d", i)
		if i%6 == 3 && i/6 < len(hostile) {
			name = hostile[i/6]
		}
		list = append(list, admin.RoomFigures{Room: name, Partition: proto.Partition(i * 31), Owner: proto.NodeID(w.owner[i*31]), Epoch: "0123456789abc", Offset: proto.Offset(100_000 - 313*i), Kept: 1000 - i, Bytes: int64(i) << 12, Members: 5 + (i*37)%500, MessagesPerSecond: 900 / float64(i+1)})
	}
	return list
}

func (w *world) Rooms(_ context.Context, q admin.RoomsQuery) (admin.RoomsDocument, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var d admin.RoomsDocument
	if !w.founded {
		d.Unowned = partitions
		return d, nil
	}
	list := w.rooms()
	slices.SortFunc(list, func(a, b admin.RoomFigures) int {
		switch q.Sort {
		case admin.SortMembers:
			return b.Members - a.Members
		case admin.SortMessages:
			return cmp.Compare(b.MessagesPerSecond, a.MessagesPerSecond)
		}
		return cmp.Compare(a.Room, b.Room)
	})
	for _, r := range list {
		if w.nodes[string(r.Owner)] == nil || w.nodes[string(r.Owner)].silent || !strings.HasPrefix(r.Room, q.Prefix) || q.After != "" && r.Room <= q.After {
			continue
		}
		if len(d.Rooms) == q.Limit {
			d.More = true
			break
		}
		d.Rooms = append(d.Rooms, r)
	}
	for _, n := range w.nodes {
		if n.silent {
			d.Missing = append(d.Missing, n.ID)
		}
	}
	return d, nil
}

func (w *world) Room(_ context.Context, name string) (admin.RoomDocument, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.rooms() {
		if r.Room == name {
			offset := r.Offset + proto.Offset(time.Since(w.begun).Seconds()*40)
			return admin.RoomDocument{Room: name, Partition: r.Partition, Owner: r.Owner, Followers: []proto.NodeID{proto.NodeID(w.follower[r.Partition])}, Term: 1<<32 | 3, Epoch: r.Epoch, Offset: offset,
				First: offset - 900, Kept: 900, Bytes: r.Bytes, Members: r.Members, Routers: map[proto.NodeID]int{"r1": r.Members / 2, "r2": r.Members - r.Members/2}}, nil
		}
	}
	return admin.RoomDocument{}, &proto.Error{Code: proto.NotFound, Op: "ask for a room"}
}

func (w *world) Plan(_ context.Context, q admin.PlanQuery) (admin.PlanDocument, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.Remove != "" && w.nodes[q.Remove] == nil {
		return admin.PlanDocument{}, admin.UnknownNode(q.Remove)
	}
	d := admin.PlanDocument{Add: q.Add, Remove: q.Remove, Settled: w.settled, Copies: 900}
	then := map[string]int{}
	before := len(w.alive())
	chance := rand.New(rand.NewPCG(7, 7))
	for p := range partitions {
		to := w.wanted[p]
		if q.Add > 0 {
			if k := chance.IntN(before + q.Add); k < q.Add {
				to = fmt.Sprintf("new-%d", k+1)
			}
		} else if w.owner[p] == q.Remove {
			to = w.other(q.Remove)
		}
		if to != w.owner[p] {
			d.Moves = append(d.Moves, admin.PlannedMove{Partition: proto.Partition(p), From: proto.NodeID(w.owner[p]), To: proto.NodeID(to)})
		}
		then[to]++
	}
	after := before + q.Add
	if q.Remove != "" {
		after--
	}
	d.Ideal = partitions * max(1, q.Add) / max(1, after)
	for _, n := range w.list() {
		if n.Role == "shard" && n.State != "dead" {
			gone := string(n.ID) == q.Remove
			s := admin.PlannedShard{ID: n.ID, Zone: n.Zone, Removed: gone, Owned: n.Owned, OwnedThen: then[string(n.ID)], Following: n.Following, FollowingThen: then[string(n.ID)], Ideal: partitions / max(1, after)}
			if gone {
				s.Ideal = 0
			}
			d.Shards = append(d.Shards, s)
		}
	}
	for i := range q.Add {
		id := "new-" + strconv.Itoa(i+1)
		d.Shards = append(d.Shards, admin.PlannedShard{ID: proto.NodeID(id), New: true, OwnedThen: then[id], FollowingThen: then[id], Ideal: partitions / after})
	}
	return d, nil
}

func (w *world) Drain(_ context.Context, node string) (admin.DrainDocument, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.ring()
	if err := w.leave(node); err != nil {
		return admin.DrainDocument{}, err
	}
	return admin.DrainDocument{Node: proto.NodeName(node + "/" + w.nodes[node].Incarnation)}, nil
}

func (w *world) Watch(ctx context.Context, onlyFeed bool, tell func(admin.Event) error) error {
	w.mu.Lock()
	picture, shown, fed, changed := w.picture(), w.named(), len(w.feed), w.changed
	feed := slices.Clone(w.feed)
	w.mu.Unlock()
	if err := tell(admin.Event{Name: admin.EventRing, Data: picture}); err != nil {
		return err
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for first := true; ; first = false {
		for _, e := range feed {
			if err := tell(admin.Event{Name: admin.EventFeed, Data: e}); err != nil {
				return err
			}
		}
		feed = nil
		if first {
			if err := tell(admin.Event{Name: admin.EventNodes, Data: w.Nodes(ctx)}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-second.C:
			if err := tell(admin.Event{Name: admin.EventNodes, Data: w.Nodes(ctx)}); err != nil {
				return err
			}
			continue
		case <-changed:
		}
		w.mu.Lock()
		now, change := w.named(), w.picture()
		rows := change.Rows
		change.Rows = nil
		for p := range partitions {
			if now[p] != shown[p] {
				change.Rows = append(change.Rows, rows[p])
			}
		}
		shown, changed, feed, fed = now, w.changed, slices.Clone(w.feed[fed:]), len(w.feed)
		down := w.down
		w.mu.Unlock()
		if down {
			return nil
		}
		if err := tell(admin.Event{Name: admin.EventChange, Data: change}); err != nil {
			return err
		}
	}
}

func (w *world) Tail(ctx context.Context, q admin.TailQuery, tell func(admin.Event) error) error {
	d, err := w.Room(ctx, q.Room)
	if err != nil {
		return err
	}
	if err := tell(admin.Event{Name: admin.EventOpen, Data: admin.TailOpen{Room: q.Room, Owner: d.Owner, Epoch: d.Epoch, Offset: d.Offset}}); err != nil {
		return err
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	payloads := []string{"hello", "<b>bold</b> \u202egnp", "\x00\xff\xfe binary", strings.Repeat("long ", 60), `{"price": 12.5, "symbol": "ABC"}`}
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		d.Offset++
		body := []byte(payloads[i%len(payloads)])
		m := admin.TailMessage{Offset: d.Offset, Kind: "text", Bytes: len(body), Publisher: "r1", Conn: fmt.Sprintf("%016x", i%3*0x1234567), Seen: time.Now().UnixMilli()}
		if i%len(payloads) == 2 {
			m.Kind = "binary"
		}
		if q.Payload {
			m.Payload = body
		}
		if err := tell(admin.Event{Name: admin.EventMessage, Data: m}); err != nil {
			return err
		}
		if i == 12 {
			if err := tell(admin.Event{Name: admin.EventGap, Data: admin.TailGap{From: d.Offset + 1, To: d.Offset + 40}}); err != nil {
				return err
			}
			d.Offset += 40
		}
	}
}

func (w *world) Forget(context.Context, string) (admin.ForgetDocument, error) {
	return admin.ForgetDocument{}, admin.NoMajority()
}

func (w *world) Recover(context.Context) (admin.RecoverDocument, error) {
	return admin.RecoverDocument{}, admin.NoMajority()
}

func (w *world) Ready() (bool, []string) { return true, nil }

func (w *world) Health() (bool, string) { return true, "" }
