package cluster

import (
	"cmp"
	"encoding/json"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

const (
	testPartitions = 31
	labMoves       = 8 // at a time
)

// lab is a cluster of keepers in one goroutine, with time, a lossy network and a register of its own.
//
// What it holds at every step, whatever a test does: a node's terms and versions never go back; what it
// holds is what a register committed; nobody gives an order before the last is answered; and a
// partition is only taken from a shard that is dead, or that an operator said is (rule R9).
type lab struct {
	t      failer
	rnd    *rand.Rand
	now    time.Time
	dir    *Directory
	paper  *paper
	nodes  []*labNode // in the order of their starts
	wires  []wire
	cut    map[[2]proto.NodeName]time.Time // since when no frame passes, by sorted pair
	loss   float64
	expect int
	seeded bool
	rules  Break
	trusts bool // do not check rule R9: a generation changed, or a test breaks it
	log    *zap.Logger
	runs   proto.Incarnation

	followers int // that shards are configured to have
	words     map[word]bool
	idle      bool // owners do nothing about moves
}

type failer interface {
	Fatalf(format string, args ...any)
	Helper()
}

type labNode struct {
	name   proto.NodeName
	role   proto.Role
	keeper *Keeper
	static *Static
	said   Announced
	dead   bool
	hidden bool // its host is gone too: nobody refuses a dial
	linked map[proto.NodeName]bool
	held   *Table
	log    bookmark
	reign  reign
	told   Status
	probed time.Time
	orders map[duty]int // under way
	zone   string
	drains bool
	hands  *hands

	copyless map[proto.Partition]bool // it says that it has no copy, whatever the Table says
}

// duty is what a leader may give one order of at a time.
type duty struct {
	term    uint64
	command bool // else it is about voters
}

type wire struct {
	from, to proto.NodeName
	frame    []byte
	at       time.Time
}

func newLab(t failer, seed int64) *lab {
	l := &lab{
		t:      t,
		rnd:    rand.New(rand.NewSource(seed)),
		now:    time.Unix(1_000_000, 0),
		dir:    NewDirectory(),
		cut:    make(map[[2]proto.NodeName]time.Time),
		expect: 1,
		log:    zap.NewNop(),
		words:  make(map[word]bool),

		followers: 1,
	}
	l.paper = newPaper(l)
	return l
}

// start begins a new run of a node, without a log of before.
func (l *lab) start(id proto.NodeID, role proto.Role) *labNode {
	return l.restart(id, role, bookmark{})
}

// restart begins a new run on the disk of an old one.
func (l *lab) restart(id proto.NodeID, role proto.Role, disk bookmark) *labNode {
	return l.begin(id, role, disk, "")
}

func (l *lab) begin(id proto.NodeID, role proto.Role, disk bookmark, zone string) *labNode {
	l.runs++
	name := proto.MakeNodeName(id, l.runs)
	if disk.voter == "" {
		disk.voter = name
	}
	disk.seen = min(disk.seen, disk.has)
	n := &labNode{
		name:   name,
		role:   role,
		linked: make(map[proto.NodeName]bool),
		log:    disk,
		orders: make(map[duty]int),
		zone:   zone,
		hands:  newHands(),
		keeper: NewKeeper(KeeperConfig{
			Self: name, Role: role, Partitions: testPartitions, Expect: l.expect, Seeded: l.seeded,
			Followers: l.followers, MaxMoves: labMoves,
			Random: l.rnd, Logger: l.log, Break: l.rules,
		}),
		static: l.dir.Join(Node{
			Name: name, Role: role, Zone: zone, Lanes: 1, Started: int64(l.runs),
			Addresses: Addresses{Link: linkOf(name), Gossip: linkOf(name)},
		}),
	}
	l.nodes = append(l.nodes, n)
	l.tell(n)
	n.keeper.SetNodes(l.now, n.static.Nodes())
	l.after(n)
	return n
}

// linkOf is where all runs of an id listen.
func linkOf(name proto.NodeName) string { return string(name.ID()) + ":7400" }

// kill ends a node as SIGKILL does: links break at once and the port is closed; gossip notices when
// judge says so.
func (l *lab) kill(n *labNode) { n.dead = true; l.links() }

// vanish ends a node and its host: nothing is heard, and nobody refuses a dial.
func (l *lab) vanish(n *labNode) {
	n.dead, n.hidden = true, true
	for _, o := range l.nodes {
		l.cutPair(n, o, true)
	}
}

// leave ends a node that says goodbye.
func (l *lab) leave(n *labNode) {
	n.dead = true
	for _, o := range l.alive() {
		if o.linked[n.name] {
			l.unlink(o, n.name, EndLeft)
		}
	}
	l.dir.Leave(n.name)
}

func (l *lab) judge(n *labNode) { l.dir.Set(n.name, Dead) }

func pair(a, b proto.NodeName) [2]proto.NodeName { return [2]proto.NodeName{min(a, b), max(a, b)} }

func (l *lab) cutPair(a, b *labNode, cut bool) {
	if key := pair(a.name, b.name); !cut {
		delete(l.cut, key)
	} else if l.cut[key].IsZero() {
		l.cut[key] = l.now
	}
}

// split cuts links and gossip between the two groups, or heals them.
func (l *lab) split(a, b []*labNode, cut bool) {
	for _, x := range a {
		for _, y := range b {
			l.cutPair(x, y, cut)
			l.dir.Cut(x.name, y.name, cut)
		}
	}
	l.links()
}

// reaches reports whether both live and no cut is between them.
func (l *lab) reaches(a, b *labNode) bool {
	return a == b || !a.dead && !b.dead && l.cut[pair(a.name, b.name)].IsZero()
}

// wants reports whether a and b should have a link: not two routers, unless one takes part in the
// register, and not across instances.
func (l *lab) wants(a, b *labNode) bool {
	if a.role == proto.RoleRouter && b.role == proto.RoleRouter && a.log.founding == b.log.founding && a.log.has == 0 {
		return false
	}
	x, y := a.keeper.Instance(), b.keeper.Instance()
	return x.IsZero() || y.IsZero() || x == y
}

// links opens and breaks links as nodes, cuts and instances say. A cut is noticed when nothing has been
// heard for 1.5 s.
func (l *lab) links() {
	for _, a := range l.alive() {
		for _, b := range l.nodes {
			if a == b {
				continue
			}
			since := l.cut[pair(a.name, b.name)]
			switch linked := a.linked[b.name]; {
			case linked && b.dead && !b.hidden:
				l.unlink(a, b.name, EndBroken)
			case linked && !since.IsZero():
				if l.now.Sub(since) >= silentAfter {
					l.unlink(a, b.name, EndSilent)
				}
			case linked && !l.wants(a, b):
				l.unlink(a, b.name, EndClosed)
			case !linked && !b.dead && since.IsZero() && l.wants(a, b):
				a.linked[b.name] = true
				a.keeper.LinkUp(l.now, b.name)
				l.after(a)
			}
		}
	}
}

func (l *lab) unlink(a *labNode, b proto.NodeName, end LinkEnd) {
	delete(a.linked, b)
	a.keeper.LinkDown(l.now, b, end)
	l.after(a)
}

// probe does for n what a node does with Probes: it dials, a few times a second.
func (l *lab) probe(n *labNode) {
	if l.now.Sub(n.probed) < 200*time.Millisecond {
		return
	}
	n.probed = l.now
	for _, p := range n.keeper.Probes() {
		n.keeper.SetFate(l.now, p.Name, l.fate(n, p))
		l.after(n)
	}
}

func (l *lab) fate(n *labNode, p Probe) Fate {
	fate := FateRefused
	for _, o := range l.nodes {
		switch {
		case linkOf(o.name) != p.Link:
		case !l.cut[pair(n.name, o.name)].IsZero():
			fate = FateUnknown
		case !o.dead && o.name == p.Name:
			return FateAlive
		case !o.dead:
			return FateReplaced
		}
	}
	return fate
}

// tell gives n's keeper what its register says, if that is news.
func (l *lab) tell(n *labNode) {
	if s := l.paper.status(n); !reflect.DeepEqual(s, n.told) {
		n.told = s
		n.keeper.SetRegister(l.now, s)
		l.after(n)
	}
}

// after carries out what a keeper wants and checks what it holds.
func (l *lab) after(n *labNode) {
	l.t.Helper()
	for _, s := range n.keeper.Take() {
		l.wire(n.name, s.To, s.Frame)
	}
	if job, ok := n.keeper.Job(); ok {
		l.paper.soon(time.Millisecond, 300*time.Millisecond, func() {
			if !n.dead {
				n.keeper.Placed(l.now, job.remembered())
				l.after(n)
			}
		})
	}
	for _, i := range n.keeper.Orders() {
		l.paper.do(n, i)
	}
	if say := (Announced{Instance: n.keeper.Instance(), Voter: n.log.voter, Draining: n.drains}); say != n.said {
		n.said = say
		n.static.Announce(say)
	}
	l.checkTable(n)
}

// wire sends a frame, which may get lost.
func (l *lab) wire(from, to proto.NodeName, frame []byte) {
	if from == to || l.rnd.Float64() >= l.loss {
		l.wires = append(l.wires, wire{from, to, frame, l.now.Add(time.Duration(l.rnd.Intn(20)) * time.Millisecond)})
	}
}

// checkTable: what a node holds was committed, and is newer than what it held.
func (l *lab) checkTable(n *labNode) {
	l.t.Helper()
	t, was := n.keeper.Table(), n.held
	if t == was {
		return
	}
	n.held = t
	if t == nil {
		return
	}
	if was != nil && was.Instance == t.Instance {
		if t.Version < was.Version {
			l.t.Fatalf("%s went back from version %#x to %#x", n.name, was.Version, t.Version)
		}
		for p, r := range t.Rows() {
			if old := was.Row(p); r.Term < old.Term {
				l.t.Fatalf("%s: partition %d went back from term %d to %d", n.name, p, old.Term, r.Term)
			}
		}
	}
	if b := l.paper.books[t.Founding()]; b != nil && !slices.ContainsFunc(b.pages, func(p page) bool { return p.table.Mark() == t.Mark() }) {
		l.t.Fatalf("%s holds version %#x, which nobody committed", n.name, t.Version)
	}
}

// checkPage holds a page that was just committed against rules R2, R3 and R9.
func (l *lab) checkPage(b *book) {
	l.t.Helper()
	if len(b.pages) < 2 || l.trusts {
		return
	}
	old, next := b.pages[len(b.pages)-2].table, b.last().table
	for p := range next.Rows() {
		l.checkRow(proto.Partition(p), old, next)
	}
	l.checkMoves(next)
}

func (l *lab) node(name proto.NodeName) *labNode {
	for _, n := range l.nodes {
		if n.name == name && !n.dead {
			return n
		}
	}
	return nil
}

// step is how far time goes at once.
const step = 10 * time.Millisecond

// run lets time pass.
func (l *lab) run(d time.Duration) {
	l.t.Helper()
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(step)
		l.deliver()
		l.paper.step()
		for _, n := range l.alive() {
			if l.rnd.Intn(3) == 0 { // several changes are told as one
				l.tell(n)
			}
			select {
			case <-n.static.Changed():
				n.keeper.SetNodes(l.now, n.static.Nodes())
			default:
			}
			n.keeper.Tick(l.now)
			l.after(n)
			l.work(n)
			l.probe(n)
		}
		l.links()
	}
}

// until lets time pass until something is so, and fails when that takes longer than d.
func (l *lab) until(what string, d time.Duration, so func() bool) {
	l.t.Helper()
	for end := l.now.Add(d); !so(); {
		if !l.now.Before(end) {
			for _, n := range l.alive() {
				l.t.Fatalf("within %v not so: %s; %s holds %s", d, what, n.name, n.document(l.now))
			}
		}
		l.run(step)
	}
}

func (l *lab) deliver() {
	l.t.Helper()
	due := l.wires
	l.wires = nil
	for _, w := range due {
		to := l.node(w.to)
		switch {
		case w.at.After(l.now):
			l.wires = append(l.wires, w)
		case to != nil && (to.linked[w.from] || w.from == w.to) && l.cut[pair(w.from, w.to)].IsZero():
			typ, size, err := proto.ParseHeader(w.frame)
			if err != nil || size != len(w.frame) {
				l.t.Fatalf("frame of %d bytes: type %v, size %d, %v", len(w.frame), typ, size, err)
			}
			if typ == proto.FramePromise {
				l.promise(to, w.from, w.frame[proto.HeaderSize:])
			} else if err := to.keeper.Frame(l.now, w.from, typ, w.frame[proto.HeaderSize:]); err != nil {
				l.t.Fatalf("frame from %s to %s: %v", w.from, w.to, err)
			}
			l.after(to)
		}
	}
}

func (l *lab) alive() []*labNode {
	return slices.DeleteFunc(slices.Clone(l.nodes), func(n *labNode) bool { return n.dead })
}

// order gives the books' keys in an order that is the same in each run of a seed.
func (l *lab) order(books map[proto.Founding]*book) []proto.Founding {
	return slices.SortedFunc(maps.Keys(books), func(a, b proto.Founding) int {
		return cmp.Or(cmp.Compare(a.Instance.String(), b.Instance.String()), cmp.Compare(a.Generation, b.Generation))
	})
}

// leader is who leads the newest founding, nil for nobody.
func (l *lab) leader() *labNode {
	for _, n := range l.alive() {
		if n.keeper.Coordinating() && n.keeper.Leader(l.now) == n.name && l.paper.books[n.log.founding].leader == n {
			return n
		}
	}
	return nil
}

func (n *labNode) document(now ...time.Time) string {
	k := n.keeper
	var leader proto.NodeName
	if len(now) > 0 {
		leader = k.Leader(now[0])
	}
	b, err := json.Marshal(Describe("test", testPartitions, k.View(), k.Ring(), k.Table(), leader, true))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// agreed says what is wrong with the picture that the living nodes give, "" for nothing: all show the
// same document, it is settled, and it has a leader.
func (l *lab) agreed() string {
	var first *labNode
	for _, n := range l.alive() {
		if first == nil {
			first = n
		}
		switch a, b := first.document(l.now), n.document(l.now); {
		case a != b:
			return string(first.name) + " and " + string(n.name) + " differ:\n" + a + "\n" + b
		case !Settled(n.keeper.View(), n.keeper.Ring(), n.keeper.Table()):
			return string(n.name) + " is not settled:\n" + b
		case n.keeper.Leader(l.now) == "":
			return string(n.name) + " knows no leader"
		}
	}
	return ""
}

// shards starts that many, s1 and so on, and lets them found a cluster with all its voters.
func (l *lab) shards(count int) []*labNode {
	l.t.Helper()
	l.expect = count
	var nodes []*labNode
	for i := range count {
		nodes = append(nodes, l.start(proto.NodeID([]string{"s1", "s2", "s3", "s4", "s5", "s6"}[i]), proto.RoleShard))
	}
	l.settle()
	return nodes
}

// settle waits until all agree and the voters are those that the cluster should have.
func (l *lab) settle() {
	l.t.Helper()
	l.until("all agree, and there are enough voters", 15*time.Second, func() bool {
		n := l.leader()
		gone := func(voter proto.NodeName) bool { return l.paper.holder(l.paper.books[n.log.founding], voter) == nil }
		if n == nil || slices.ContainsFunc(n.keeper.Table().Voters, gone) {
			return false
		}
		want := map[int]int{1: 1, 2: 1, 3: 3, 4: 3}[len(l.alive())]
		return l.agreed() == "" && len(n.keeper.Table().Voters) == cmp.Or(want, 5) && len(n.keeper.reg.Servers) == cmp.Or(want, 5)
	})
}
