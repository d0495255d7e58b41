package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

const testPartitions = 31

// lab is a cluster of keepers in one goroutine, with time and a lossy network of its own.
type lab struct {
	t      failer
	rnd    *rand.Rand
	now    time.Time
	dir    *Directory
	nodes  []*labNode // in the order of their starts
	wires  []wire
	cut    map[[2]proto.NodeName]bool // no link between them, sorted pair
	loss   float64
	expect int
	log    *zap.Logger
	runs   proto.Incarnation
}

type failer interface {
	Fatalf(format string, args ...any)
	Helper()
}

type labNode struct {
	name   proto.NodeName
	keeper *Keeper
	static *Static
	said   proto.Instance
	dead   bool
	linked map[proto.NodeName]bool
	terms  []proto.Term // the highest ever held
}

type wire struct {
	from, to proto.NodeName
	frame    []byte
	at       time.Time
}

func newLab(t failer, seed int64) *lab {
	return &lab{
		t:      t,
		rnd:    rand.New(rand.NewSource(seed)),
		now:    time.Unix(1_000_000, 0),
		dir:    NewDirectory(),
		cut:    make(map[[2]proto.NodeName]bool),
		expect: 1,
		log:    zap.NewNop(),
	}
}

func (l *lab) start(id proto.NodeID, role proto.Role) *labNode {
	l.runs++
	name := proto.MakeNodeName(id, l.runs)
	n := &labNode{
		name:   name,
		linked: make(map[proto.NodeName]bool),
		terms:  make([]proto.Term, testPartitions),
		keeper: NewKeeper(KeeperConfig{Self: name, Role: role, Partitions: testPartitions, Expect: l.expect, Random: l.rnd, Logger: l.log}),
		static: l.dir.Join(Node{Name: name, Role: role, Lanes: 1, Started: int64(l.runs)}),
	}
	l.nodes = append(l.nodes, n)
	n.keeper.SetNodes(l.now, n.static.Nodes())
	l.after(n)
	return n
}

// kill ends a node as SIGKILL does: links break at once, gossip notices when judge says so.
func (l *lab) kill(n *labNode) {
	n.dead = true
	l.links()
}

func (l *lab) judge(n *labNode) { l.dir.Set(n.name, Dead) }

func pair(a, b proto.NodeName) [2]proto.NodeName { return [2]proto.NodeName{min(a, b), max(a, b)} }

// split cuts links and gossip between the two groups, or heals them.
func (l *lab) split(a, b []*labNode, cut bool) {
	for _, x := range a {
		for _, y := range b {
			l.cut[pair(x.name, y.name)] = cut
			l.dir.Cut(x.name, y.name, cut)
		}
	}
	l.links()
}

// links opens and breaks links as nodes and cuts say. Routers do not link to each other.
func (l *lab) links() {
	for _, a := range l.nodes {
		for _, b := range l.nodes {
			if a == b {
				continue
			}
			bothRoute := a.keeper.cfg.Role == proto.RoleRouter && b.keeper.cfg.Role == proto.RoleRouter
			want := !a.dead && !b.dead && !bothRoute && !l.cut[pair(a.name, b.name)]
			switch {
			case a.dead || want == a.linked[b.name]:
			case want:
				a.linked[b.name] = true
				a.keeper.LinkUp(l.now, b.name)
				l.after(a)
			default:
				delete(a.linked, b.name)
				a.keeper.LinkDown(l.now, b.name)
				l.after(a)
			}
		}
	}
}

// after carries out what a keeper wants and checks that its terms only grow.
func (l *lab) after(n *labNode) {
	l.t.Helper()
	for _, s := range n.keeper.Take() {
		if l.rnd.Float64() >= l.loss {
			l.wires = append(l.wires, wire{n.name, s.To, s.Frame, l.now.Add(time.Duration(l.rnd.Intn(20)) * time.Millisecond)})
		}
	}
	if i := n.keeper.Instance(); i != n.said {
		n.said = i
		n.static.Announce(Announced{Instance: i})
	}
	if t := n.keeper.Table(); t != nil {
		for p, r := range t.Rows() {
			if r.Term < n.terms[p] {
				l.t.Fatalf("%s: partition %d went back from term %d to %d", n.name, p, n.terms[p], r.Term)
			}
			n.terms[p] = r.Term
		}
	}
}

func (l *lab) node(name proto.NodeName) *labNode {
	for _, n := range l.nodes {
		if n.name == name && !n.dead {
			return n
		}
	}
	return nil
}

// run lets time pass.
func (l *lab) run(d time.Duration) {
	l.t.Helper()
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(10 * time.Millisecond)
		due := l.wires
		l.wires = nil
		for _, w := range due {
			to := l.node(w.to)
			switch {
			case w.at.After(l.now):
				l.wires = append(l.wires, w)
			case to != nil && to.linked[w.from]:
				typ, size, err := proto.ParseHeader(w.frame)
				if err != nil || size != len(w.frame) {
					l.t.Fatalf("frame of %d bytes: type %v, size %d, %v", len(w.frame), typ, size, err)
				}
				if err := to.keeper.Frame(l.now, w.from, typ, w.frame[proto.HeaderSize:]); err != nil {
					l.t.Fatalf("frame from %s to %s: %v", w.from, w.to, err)
				}
				l.after(to)
			}
		}
		for _, n := range l.nodes {
			if n.dead {
				continue
			}
			select {
			case <-n.static.Changed():
				n.keeper.SetNodes(l.now, n.static.Nodes())
			default:
			}
			n.keeper.Tick(l.now)
			l.after(n)
		}
		l.links()
	}
}

func (l *lab) alive() []*labNode {
	return slices.DeleteFunc(slices.Clone(l.nodes), func(n *labNode) bool { return n.dead })
}

func (l *lab) allHoldTables() bool {
	return !slices.ContainsFunc(l.alive(), func(n *labNode) bool { return n.keeper.Table() == nil })
}

func (n *labNode) document() string {
	k := n.keeper
	b, err := json.Marshal(Describe("test", testPartitions, k.View(), k.Ring(), k.Table(), true))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// mustAgree checks that all living nodes show the same document, and that it is settled.
func (l *lab) mustAgree() {
	l.t.Helper()
	var first *labNode
	for _, n := range l.alive() {
		if first == nil {
			first = n
		}
		if a, b := first.document(), n.document(); a != b {
			l.t.Fatalf("%s and %s differ:\n%s\n%s", first.name, n.name, a, b)
		}
		if !Settled(n.keeper.View(), n.keeper.Table()) {
			l.t.Fatalf("%s is not settled:\n%s", n.name, n.document())
		}
	}
}

func TestStartInAnyOrder(t *testing.T) {
	for seed := range int64(20) {
		l := newLab(t, seed)
		l.expect = 3
		ids := []proto.NodeID{"s1", "s2", "s3", "r1", "r2"}
		l.rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for _, id := range ids {
			role := proto.RoleShard
			if id[0] == 'r' {
				role = proto.RoleRouter
			}
			l.start(id, role)
			l.run(time.Duration(l.rnd.Intn(800)) * time.Millisecond)
		}
		l.run(3 * time.Second)
		l.mustAgree()
		if v := l.nodes[0].keeper.Table().Version; v != 1 {
			t.Errorf("seed %d: version %d after a start in peace, want 1", seed, v)
		}
	}
}

func TestTooFewShardsDoNotFound(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	l := newLab(t, 1)
	l.expect, l.log = 3, zap.New(core)
	l.start("s1", proto.RoleShard)
	l.start("s2", proto.RoleShard)
	l.start("r1", proto.RoleRouter)
	l.run(12 * time.Second)
	for _, n := range l.nodes {
		if n.keeper.Table() != nil {
			t.Fatalf("%s has a table", n.name)
		}
	}
	if n := logs.FilterMessage("waiting for shards: have 2 of 3").Len(); n != 6 {
		t.Errorf("said %d times in 12 s by three nodes what is waited for, want 6", n)
	}
	l.start("s3", proto.RoleShard)
	l.run(2 * time.Second)
	l.mustAgree()
}

// A shard that has seeds hears first what they know, also when it would be enough by itself.
func TestSeededShardListensBeforeItFounds(t *testing.T) {
	self := Node{Name: proto.MakeNodeName("s1", 2), Role: proto.RoleShard, State: Alive}
	router := Node{Name: proto.MakeNodeName("r1", 1), Role: proto.RoleRouter, State: Alive, Instance: inst}
	start := time.Unix(1, 0)
	for _, late := range []bool{false, true} {
		k := NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: testPartitions, Seeded: true})
		k.SetNodes(start, []Node{self})
		if k.Table() != nil {
			t.Fatal("it founded at once")
		}
		if !late {
			k.SetNodes(start.Add(foundingQuiet/2), []Node{router, self})
		}
		k.Tick(start.Add(2 * foundingQuiet))
		if founded := k.Table() != nil; founded != late {
			t.Errorf("founded is %v where somebody naming an instance being late is %v", founded, late)
		}
	}
}

// A first shard without seeds that comes back as a new run founds before anybody has found it. It
// gives that cluster up for the one that its routers wait for, but only while nobody shares it.
func TestLoneFounderGivesUp(t *testing.T) {
	self := Node{Name: proto.MakeNodeName("s1", 2), Role: proto.RoleShard, State: Alive}
	router := Node{Name: proto.MakeNodeName("r1", 1), Role: proto.RoleRouter, State: Alive, Instance: inst}
	now := time.Unix(1, 0)
	for _, shared := range []bool{false, true} {
		k := NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: testPartitions})
		k.SetNodes(now, []Node{self})
		if k.Table() == nil {
			t.Fatal("it did not found")
		}
		if shared {
			k.SetNodes(now, []Node{{Name: proto.MakeNodeName("r2", 1), Role: proto.RoleRouter, State: Alive, Instance: k.Instance()}, self})
		}
		k.SetNodes(now, []Node{router, self})
		if held := k.Table() != nil; held != shared {
			t.Errorf("holds its own table: %v, where another shares it: %v", held, shared)
		}
		if shared {
			continue
		}
		k.LinkUp(now, router.Name)
		rows := make([]Row, testPartitions)
		for p := range rows {
			rows[p] = Row{Owner: proto.MakeNodeName("s1", 1), Term: 1}
		}
		body := AppendTable(nil, NewTable(inst, 1, rows))[proto.HeaderSize:]
		if err := k.Frame(now, router.Name, proto.FrameTable, body); err != nil {
			t.Fatal(err)
		}
		k.Tick(now.Add(2 * unseenGrace))
		if table := k.Table(); table == nil || table.Instance != inst || table.Row(0).Owner != self.Name || table.Row(0).Term != 2 {
			t.Errorf("after the router's table it holds %+v", table)
		}
	}
}

func TestRouterNeverFounds(t *testing.T) {
	l := newLab(t, 1)
	r := l.start("r1", proto.RoleRouter)
	l.run(time.Minute)
	if r.keeper.Table() != nil {
		t.Error("a router founded a cluster")
	}
}

func TestCoordinatorKilled(t *testing.T) {
	l := newLab(t, 1)
	l.expect = 3
	s1 := l.start("s1", proto.RoleShard)
	s2 := l.start("s2", proto.RoleShard)
	l.start("s3", proto.RoleShard)
	r := l.start("r1", proto.RoleRouter)
	l.run(2 * time.Second)
	l.mustAgree()
	if !s1.keeper.Coordinating() {
		t.Fatal("the lowest name does not coordinate")
	}
	l.kill(s1)
	l.run(200 * time.Millisecond)
	if Settled(r.keeper.View(), r.keeper.Table()) {
		t.Error("settled, although a node is silent")
	}
	if r.keeper.View().State(s1.name) != Suspect {
		t.Errorf("a node whose link broke is %v", r.keeper.View().State(s1.name))
	}
	before := r.keeper.Table()
	l.judge(s1)
	l.run(time.Second)
	l.mustAgree()
	if !s2.keeper.Coordinating() {
		t.Error("the next one did not take over")
	}
	for p, row := range r.keeper.Table().Rows() {
		old := before.Row(proto.Partition(p))
		switch {
		case old.Owner == s1.name && row.Term != old.Term+1:
			t.Errorf("partition %d of the dead: term %d after %d", p, row.Term, old.Term)
		case old.Owner != s1.name && !row.Equal(old):
			t.Errorf("partition %d of the living changed", p)
		}
	}
}

func TestRestartedShardOwnsNothingOfBefore(t *testing.T) {
	l := newLab(t, 1)
	old := l.start("s1", proto.RoleShard)
	l.run(time.Second)
	l.kill(old)
	l.judge(old)
	again := l.start("s1", proto.RoleShard)
	r := l.start("r1", proto.RoleRouter)
	l.run(time.Second)
	l.mustAgree()
	// Nobody was left to remember the old cluster, so this is another one.
	if r.keeper.Instance() == old.keeper.Instance() {
		t.Error("a process without memory goes on with the old instance")
	}
	for p, row := range again.keeper.Table().Rows() {
		if row.Owner != again.name {
			t.Fatalf("partition %d is owned by %q", p, row.Owner)
		}
	}
	if runs := again.keeper.View().Runs("s1"); len(runs) != 1 {
		t.Errorf("%d runs of s1 are listed, the old one should be superseded", len(runs))
	}
}

// TestRouterRemembersTheCluster: all shards die; the routers still hold the Table, so new shards go
// on in the same instance and under higher terms.
func TestRouterRemembersTheCluster(t *testing.T) {
	l := newLab(t, 1)
	s1 := l.start("s1", proto.RoleShard)
	r := l.start("r1", proto.RoleRouter)
	l.run(time.Second)
	instance, term := r.keeper.Instance(), r.keeper.Table().Row(0).Term
	l.kill(s1)
	l.judge(s1)
	l.run(time.Second)
	l.start("s2", proto.RoleShard)
	l.run(2 * time.Second)
	l.mustAgree()
	if r.keeper.Instance() != instance || r.keeper.Table().Row(0).Term != term+1 {
		t.Errorf("instance %v term %d, want %v and %d", r.keeper.Instance(), r.keeper.Table().Row(0).Term, instance, term+1)
	}
}

func TestLostDeltaIsHealed(t *testing.T) {
	l := newLab(t, 1)
	l.expect = 3
	for _, id := range []proto.NodeID{"s1", "s2", "s3"} {
		l.start(id, proto.RoleShard)
	}
	r := l.start("r1", proto.RoleRouter)
	l.run(2 * time.Second)
	l.loss = 1
	l.kill(l.nodes[2])
	l.judge(l.nodes[2])
	l.run(100 * time.Millisecond)
	if v := r.keeper.Table().Version; v != 1 {
		t.Fatalf("the router has version %d although all was lost", v)
	}
	l.loss = 0
	l.run(time.Second)
	l.mustAgree()
}

func TestTwoCoordinatorsConverge(t *testing.T) {
	l := newLab(t, 1)
	l.expect = 5
	for _, id := range []proto.NodeID{"s1", "s2", "s3", "s4", "s5"} {
		l.start(id, proto.RoleShard)
	}
	r := l.start("r1", proto.RoleRouter)
	l.run(2 * time.Second)
	a := []*labNode{l.nodes[0], l.nodes[1], r}
	b := []*labNode{l.nodes[2], l.nodes[3]}
	l.split(a, b, true)
	l.kill(l.nodes[4]) // both halves give away what it owned, in the same term
	l.judge(l.nodes[4])
	l.run(2 * time.Second)
	if !a[0].keeper.Coordinating() || !b[0].keeper.Coordinating() {
		t.Fatal("each half should have a coordinator")
	}
	seen := max(a[0].keeper.Table().Version, b[0].keeper.Table().Version)
	both := 0
	for p, row := range a[0].keeper.Table().Rows() {
		if other := b[0].keeper.Table().Row(proto.Partition(p)); row.Term == other.Term && row.Owner != other.Owner {
			both++
		}
	}
	if both == 0 {
		t.Fatal("the halves should have given some partition two owners in one term")
	}
	l.split(a, b, false)
	l.run(3 * time.Second)
	l.mustAgree()
	if v := r.keeper.Table().Version; v <= seen {
		t.Errorf("merged into version %d, versions up to %d were seen", v, seen)
	}
	for p, row := range a[0].keeper.Table().Rows() {
		if row.Term > 3 {
			t.Errorf("partition %d is at term %d after one split", p, row.Term)
		}
	}
}

// TestUnseenOwnerHasGrace: a shard that takes over before it has seen everybody does not take
// partitions away from those it has not met yet.
func TestUnseenOwnerHasGrace(t *testing.T) {
	l := newLab(t, 1)
	s2 := l.start("s2", proto.RoleShard)
	l.run(time.Second)
	table := s2.keeper.Table()

	n := Node{Name: proto.MakeNodeName("s1", 77), Role: proto.RoleShard, Lanes: 1}
	friend := Node{Name: proto.MakeNodeName("s3", 78), Role: proto.RoleShard, Lanes: 1, Instance: table.Instance}
	k := NewKeeper(KeeperConfig{Self: n.Name, Role: n.Role, Partitions: testPartitions})
	k.SetNodes(l.now, []Node{n, friend})
	k.LinkUp(l.now, friend.Name)
	if err := k.Frame(l.now, friend.Name, proto.FrameTable, AppendTable(nil, table)[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	k.Tick(l.now.Add(unseenGrace - time.Millisecond))
	if !k.Coordinating() || k.Table().Row(0).Owner != s2.name {
		t.Fatalf("coordinating %v, owner %q: within the grace the unseen keep what they own", k.Coordinating(), k.Table().Row(0).Owner)
	}
	k.Tick(l.now.Add(unseenGrace))
	if owner := k.Table().Row(0).Owner; owner == s2.name {
		t.Error("after the grace a node that nobody sees still owns something")
	}
}

func TestInstancesNeverMix(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	a, b := newLab(t, 1), newLab(t, 2)
	x := a.start("s1", proto.RoleShard)
	a.start("r1", proto.RoleRouter)
	a.run(time.Second)
	y := b.start("s2", proto.RoleShard)
	b.run(time.Second)

	x.keeper.log = zap.New(core)
	foreign, _ := y.keeper.View().Node(y.name)
	x.keeper.SetNodes(a.now, append(x.static.Nodes(), foreign))
	before := x.keeper.Table()
	x.keeper.LinkUp(a.now, y.name)
	frame := AppendTable(nil, NewTable(y.keeper.Instance(), 99, y.keeper.Table().Rows()))
	if err := x.keeper.Frame(a.now, y.name, proto.FrameTable, frame[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	if x.keeper.Table() != before {
		t.Error("the table of another instance was taken")
	}
	if slices.Contains(x.keeper.Ring().Shards(), y.name) {
		t.Error("a shard of another instance is on the ring")
	}
	if logs.FilterMessage("nodes of another cluster instance are seen").Len() != 1 {
		t.Error("want one error in the log")
	}
	if x.keeper.View().Outnumbered(x.keeper.Instance()) {
		t.Error("the larger side calls itself outnumbered")
	}
	if !x.keeper.View().Outnumbered(y.keeper.Instance()) {
		t.Error("the smaller side does not notice")
	}
}

func TestTwinsAreReported(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	l := newLab(t, 1)
	l.log = zap.New(core)
	a := l.start("s1", proto.RoleShard)
	l.log = zap.NewNop()
	l.start("s1", proto.RoleShard)
	l.run(10 * time.Second)
	if len(a.keeper.View().Runs("s1")) != 2 {
		t.Error("both should be in the view")
	}
	if n := logs.FilterMessage("two processes use the same node id").Len(); n != 1 {
		t.Errorf("%d errors in the log, want 1", n)
	}
}

func TestNeedTableAsks(t *testing.T) {
	l := newLab(t, 1)
	s := l.start("s1", proto.RoleShard)
	r := l.start("r1", proto.RoleRouter)
	l.run(time.Second)
	r.keeper.NeedTable(l.now, 0, 1)
	if out := r.keeper.Take(); len(out) != 0 {
		t.Errorf("asked although the term is known: %v", out)
	}
	r.keeper.NeedTable(l.now, 0, 2)
	r.keeper.NeedTable(l.now, 1, 2)
	out := r.keeper.Take()
	if len(out) != 1 || out[0].To != s.name || proto.FrameType(out[0].Frame[4]) != proto.FrameTableGet {
		t.Fatalf("want one table-get to the shard, have %v", out)
	}
	r.keeper.Tick(l.now.Add(askAgainAfter))
	asked := 0
	for _, s := range r.keeper.Take() {
		if proto.FrameType(s.Frame[4]) == proto.FrameTableGet {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("without an answer asked %d times again, want once", asked)
	}
}

func TestForeignFramesAreErrors(t *testing.T) {
	l := newLab(t, 1)
	s := l.start("s1", proto.RoleShard)
	l.run(time.Second)
	small := NewTable(s.keeper.Instance(), 9, make([]Row, 3))
	for name, frame := range map[string][]byte{
		"garbage":              proto.AppendBytes(nil, proto.FrameTable, []byte("nonsense")),
		"other partitions":     AppendTable(nil, small),
		"a frame of another's": proto.AppendEmpty(nil, proto.FramePing),
	} {
		typ := proto.FrameType(frame[4])
		if err := s.keeper.Frame(l.now, "s9/0000000000009", typ, frame[proto.HeaderSize:]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestConvergence: whatever dies, starts, is cut off or lost, once it is quiet all living nodes show
// the same document. That no node's terms ever go back is checked at every step.
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLab(t, rapid.Int64().Draw(t, "seed"))
		l.expect = rapid.IntRange(1, 3).Draw(t, "expect")
		started := 0
		start := func(role proto.Role) {
			started++
			l.start(proto.NodeID(fmt.Sprintf("%c%d", role.String()[0], rapid.IntRange(1, 5).Draw(t, "id")*10+started)), role)
		}
		for range 3 {
			start(proto.RoleShard)
		}
		start(proto.RoleRouter)
		l.run(2 * time.Second)
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			alive := l.alive()
			n := alive[rapid.IntRange(0, len(alive)-1).Draw(t, "node")]
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0:
				start(proto.RoleShard)
			case 1:
				start(proto.RoleRouter)
			case 2:
				if len(alive) > 2 {
					l.kill(n)
					l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "until judged")) * time.Millisecond)
					l.judge(n)
				}
			case 3:
				if !l.allHoldTables() {
					continue // who is cut off without a Table founds another cluster
				}
				cut := rapid.IntRange(1, len(alive)).Draw(t, "cut at")
				l.split(alive[:cut], alive[cut:], true)
				l.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "cut for")) * time.Millisecond)
				l.split(alive[:cut], alive[cut:], false)
			case 4:
				l.loss = rapid.Float64Range(0, 0.9).Draw(t, "loss")
			case 5: // only gossip errs: two coordinators that hear each other
				m := alive[rapid.IntRange(0, len(alive)-1).Draw(t, "other")]
				if m != n && l.allHoldTables() {
					l.dir.Cut(n.name, m.name, true)
					l.run(time.Duration(rapid.IntRange(0, 2000).Draw(t, "errs for")) * time.Millisecond)
					l.dir.Cut(n.name, m.name, false)
				}
			}
			l.run(time.Duration(rapid.IntRange(0, 700).Draw(t, "pause")) * time.Millisecond)
		}
		l.loss = 0
		hasShard := func(n *labNode) bool { return n.keeper.cfg.Role == proto.RoleShard }
		for range l.expect { // so that there is a cluster at all
			if !slices.ContainsFunc(l.alive(), hasShard) || l.alive()[0].keeper.Table() == nil {
				start(proto.RoleShard)
			}
		}
		l.run(6 * time.Second)
		l.mustAgree()
	})
}
