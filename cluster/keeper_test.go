package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// TestLeaderIsHeard: who leads says so, and 3 s without a word mean that there is no majority.
func TestLeaderIsHeard(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	if d.k.Leader(d.now) != s1.Name || !d.k.Coordinating() {
		t.Error("who leads the register does not call itself the leader")
	}
	d.reg.Term = 0
	d.k.SetRegister(d.now, d.reg)
	d.pass(leaderQuiet)
	if l := d.k.Leader(d.now); l != "" {
		t.Errorf("nobody leads, and it says %q", l)
	}
	says := func(n Node, instance proto.Instance, generation uint32, term uint64) {
		mark := Mark{Version: uint64(generation)<<32 | 1}
		d.frame(n, proto.FrameVersion, AppendVersion(nil, Announcement{Instance: instance, Mark: mark, Term: term}))
	}
	steps := []struct {
		what string
		do   func()
		want proto.NodeName
	}{
		{"s2 leads", func() { says(s2, inst, 0, 5) }, s2.Name},
		{"so says s3, in an older term", func() { says(s3, inst, 0, 4) }, s2.Name},
		{"so says s3, in a later term", func() { says(s3, inst, 0, 6) }, s3.Name},
		{"s2 has not noticed yet", func() { says(s2, inst, 0, 5) }, s3.Name},
		{"another cluster's leader", func() { says(s2, proto.Instance{7}, 0, 9) }, s3.Name},
		{"2.9 s of silence", func() { d.pass(leaderQuiet - 100*time.Millisecond) }, s3.Name},
		{"3 s of silence", func() { d.pass(100 * time.Millisecond) }, ""},
		{"s2 leads again, though in an older term", func() { says(s2, inst, 0, 5) }, s2.Name},
		{"the leader of a later generation", func() { says(s3, inst, 1, 1) }, s3.Name},
	}
	for _, s := range steps {
		s.do()
		if l := d.k.Leader(d.now); l != s.want {
			t.Errorf("%s: the leader is %q, want %q", s.what, l, s.want)
		}
	}
}

// TestMajorityLost: the Table of who cannot reach a majority is frozen, it says so, and all is well
// when the split heals.
func TestMajorityLost(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(5)
	r := l.start("r1", proto.RoleRouter)
	l.settle()
	few, many := []*labNode{s[0], s[1], r}, []*labNode{s[2], s[3], s[4]}
	l.split(few, many, true)
	l.run(leaderQuiet + 2*time.Second)
	frozen := r.keeper.Table()
	for _, n := range few {
		if leader := n.keeper.Leader(l.now); leader != "" || n.keeper.Coordinating() {
			t.Errorf("%s, in the minority, says that %q leads", n.name, leader)
		}
	}
	l.kill(s[1])
	l.run(5 * time.Second)
	if r.keeper.Table() != frozen {
		t.Error("the table changed without a majority")
	}
	for _, n := range many {
		if n.keeper.Leader(l.now) == "" {
			t.Errorf("%s, in the majority, knows no leader", n.name)
		}
	}
	l.split(few, many, false)
	l.judge(s[1])
	l.settle()
}

// TestDeltasArePushed: the leader's changes reach everybody as deltas, and nobody asks for the whole.
func TestDeltasArePushed(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(6) // so that the router is never needed as a voter
	r := l.start("r1", proto.RoleRouter)
	l.settle()
	l.run(time.Second)
	dead := s[0]
	if dead == l.leader() {
		dead = s[1]
	}
	before := r.keeper.Table()
	asked := 0
	l.leave(dead)
	for range 50 {
		for _, w := range l.wires {
			if proto.FrameType(w.frame[4]) == proto.FrameTableGet {
				asked++
			}
		}
		l.run(step)
	}
	if r.keeper.Table().Version <= before.Version || asked != 0 {
		t.Errorf("version %d after %d, asked for the whole %d times", r.keeper.Table().Version, before.Version, asked)
	}
}

// TestLostDeltaIsHealed: who missed one fetches the whole, half a second later at the latest.
func TestLostDeltaIsHealed(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(6) // so that the router is never needed as a voter
	r := l.start("r1", proto.RoleRouter)
	l.settle()
	dead := s[0]
	if dead == l.leader() {
		dead = s[1]
	}
	before := r.keeper.Table().Version
	l.leave(dead)
	for range 30 {
		l.wires = slices.DeleteFunc(l.wires, func(w wire) bool { return w.to == r.name })
		l.run(step)
	}
	if v := r.keeper.Table().Version; v != before {
		t.Fatalf("the test errs: the router has version %d, although nothing reaches it", v)
	}
	l.run(announceEvery + 100*time.Millisecond)
	if have, want := r.keeper.Table().Mark(), l.leader().keeper.Table().Mark(); have != want || have.Version == before {
		t.Errorf("the router holds %+v, the leader %+v", have, want)
	}
}

func TestNeedTableAsks(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.reg.Term = 0
	d.k.SetRegister(d.now, d.reg)
	for _, n := range []Node{s2, s3} {
		d.frame(n, proto.FrameVersion, AppendVersion(nil, Announcement{Instance: inst, Mark: d.k.Table().Mark(), Term: uint64(n.Incarnation())}))
	}
	d.k.Take()
	asked := func() (ids string) {
		for _, s := range kept(d.k.Take(), proto.FrameTableGet) {
			ids += string(s.To.ID())
		}
		return ids
	}
	d.k.NeedTable(d.now, 0, 1)
	d.k.NeedTable(d.now, testPartitions, 9)
	if got := asked(); got != "" {
		t.Errorf("asked %s although the term is known", got)
	}
	d.k.NeedTable(d.now, 0, 2)
	d.k.NeedTable(d.now, 1, 2)
	if got := asked(); got != "s3" {
		t.Errorf("asked %q, want the leader once", got)
	}
	all := ""
	for range 2 * askAtMost {
		d.pass(askAgainAfter)
		all += asked()
	}
	if all != "s2s3s2" {
		t.Errorf("without an answer asked %q, want the others in turn, and then nobody", all)
	}
}

// TestWhatIsNotTaken: a Table of another instance, or an older one, changes nothing.
func TestWhatIsNotTaken(t *testing.T) {
	s1, s2 := shard("s1", 1), shard("s2", 2)
	d := newDesk(t, 0, s1, s2)
	own := d.k.Table()
	head := own.Head
	for name, change := range map[string]func(*Head){
		"another instance":   func(h *Head) { h.Instance, h.Version = proto.Instance{9}, 99 },
		"the same version":   func(h *Head) {},
		"a later one's heir": func(h *Head) { h.Instance, h.Version = proto.Instance{9}, 5<<32 },
	} {
		h := head
		change(&h)
		foreign := NewTable(h, listed(own))
		d.frame(s2, proto.FrameTable, AppendTable(nil, foreign))
		delta := foreign.Since(own)
		d.frame(s2, proto.FrameDelta, AppendDelta(nil, &delta))
		if d.k.Table() != own {
			t.Errorf("the table of %s was taken", name)
		}
	}
	head.Version = 1<<32 | 7
	later := NewTable(head, listed(own))
	d.frame(s2, proto.FrameTable, AppendTable(nil, later))
	if d.k.Table().Mark() != later.Mark() {
		t.Error("a later generation's table was not taken")
	}
	d.frame(s2, proto.FrameTable, AppendTable(nil, own))
	if d.k.Table().Mark() != later.Mark() {
		t.Error("it went back a generation")
	}
}

func TestForeignFramesAreErrors(t *testing.T) {
	s1, s2 := shard("s1", 1), shard("s2", 2)
	d := newDesk(t, 0, s1, s2)
	for name, frame := range map[string][]byte{
		"garbage":              proto.AppendBytes(nil, proto.FrameTable, []byte("nonsense")),
		"garbage of a witness": proto.AppendBytes(nil, proto.FrameWitness, []byte{0, 1}),
		"other partitions":     AppendTable(nil, NewTable(Head{Instance: inst, Version: 9}, make([]Row, 3))),
		"a frame of another's": proto.AppendEmpty(nil, proto.FramePing),
	} {
		if err := d.k.Frame(d.now, s2.Name, proto.FrameType(frame[4]), frame[proto.HeaderSize:]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestInstancesNeverMix(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	s1, s2, r1 := shard("s1", 1), shard("s2", 2), router("r1", 3)
	d := newDesk(t, 0, s1, r1)
	d.k.log = zap.New(core)
	s2.Instance = proto.Instance{9}
	d.nodes = append(d.nodes, s2)
	d.k.SetNodes(d.now, d.nodes)
	d.pass(time.Second)
	if slices.Contains(d.k.Ring().Shards(), s2.Name) {
		t.Error("a shard of another instance is on the ring")
	}
	if logs.FilterMessage("nodes of another cluster instance are seen").Len() != 1 {
		t.Error("want one error in the log")
	}
	if v := d.k.View(); v.Outnumbered(inst) || !v.Outnumbered(s2.Instance) {
		t.Error("the smaller side is the one that is outnumbered")
	}
	if list := d.voterOrders(); slices.ContainsFunc(list, func(i Issue) bool { return i.Order.Voter == s2.Voter }) {
		t.Errorf("a node of another instance is to vote: %+v", list)
	}
}

func TestTwinsAreReported(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	s1, a, b := shard("s1", 1), shard("s2", 2), shard("s2", 3)
	d := newDesk(t, 0, s1, a)
	d.k.log = zap.New(core)
	d.nodes = append(d.nodes, b)
	d.k.SetNodes(d.now, d.nodes)
	d.pass(10 * time.Second)
	if len(d.k.View().Runs("s2")) != 2 {
		t.Error("both should be in the view")
	}
	if n := logs.FilterMessage("two processes use the same node id").Len(); n != 1 {
		t.Errorf("%d errors in the log, want 1", n)
	}
}

// TestEverythingRestarts: all nodes die at once and come back with their logs: the same cluster goes on,
// and all rooms are reset, since who owned them is dead.
func TestEverythingRestarts(t *testing.T) {
	l := newLab(t, 1)
	old := l.shards(3)
	before := old[0].keeper.Table()
	for _, n := range old {
		l.kill(n)
	}
	for _, n := range old {
		l.judge(n)
	}
	for _, n := range old {
		l.restart(n.name.ID(), n.role, n.log)
		l.run(300 * time.Millisecond)
	}
	l.settle()
	after := l.leader().keeper.Table()
	if after.Founding() != before.Founding() {
		t.Errorf("from %v to %v", before.Founding(), after.Founding())
	}
	for p, row := range after.Rows() {
		if row.Since <= before.Row(p).Term {
			t.Errorf("partition %d went from %+v to %+v", p, before.Row(p), row)
		}
	}
}

// TestConvergence: whatever dies, starts, comes back, is cut off, lost or wrongly called dead, once it
// is quiet all living nodes show the same settled document and know a leader. What must hold at every
// step the lab checks.
func TestConvergence(t *testing.T) {
	hunt(t, func(t *rapid.T) {
		l := newLab(t, rapid.Int64().Draw(t, "seed"))
		l.paper.lies = rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "lies")
		l.shards(3)
		l.start("r1", proto.RoleRouter)
		l.settle()
		instance := l.nodes[0].keeper.Instance()
		for i := range rapid.IntRange(1, 8).Draw(t, "events") {
			l.event(t, i)
			l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
		}
		l.loss = 0
		if !slices.ContainsFunc(l.alive(), func(n *labNode) bool { return n.role == proto.RoleShard }) {
			l.start("s0", proto.RoleShard)
		}
		l.run(8 * time.Second)
		l.trusts = true // an operator's word counts for proof
		l.recoverIfNeeded(5 * time.Second)
		l.forgetSilent()
		l.settle()
		for _, n := range l.alive() {
			if n.keeper.Instance() != instance {
				t.Fatalf("%s is of another cluster", n.name)
			}
		}
	})
}

// event is one thing that happens to a cluster.
func (l *lab) event(t *rapid.T, i int) {
	alive := l.alive()
	n := alive[rapid.IntRange(0, len(alive)-1).Draw(t, "node")]
	last := len(alive) <= 2
	id := proto.NodeID(fmt.Sprintf("n%d", i))
	switch rapid.SampledFrom([]string{"shard", "router", "kill", "restart", "return", "leave", "vanish", "split", "loss", "verdict"}).Draw(t, "event") {
	case "shard":
		l.start(id, proto.RoleShard)
	case "router":
		l.start(id, proto.RoleRouter)
	case "kill":
		if !last {
			l.kill(n)
			l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "until judged")) * time.Millisecond)
			l.judge(n)
		}
	case "restart":
		if !last {
			l.kill(n)
			l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "down for")) * time.Millisecond)
			l.judge(n)
			l.start(n.name.ID(), n.role)
		}
	case "return":
		if !last {
			l.kill(n)
			l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "down for")) * time.Millisecond)
			l.judge(n)
			l.restart(n.name.ID(), n.role, n.log)
		}
	case "leave":
		if !last {
			l.leave(n)
		}
	case "vanish":
		if !last {
			l.vanish(n)
			l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "until judged")) * time.Millisecond)
			l.judge(n)
		}
	case "split":
		cut := rapid.IntRange(1, len(alive)).Draw(t, "cut at")
		l.split(alive[:cut], alive[cut:], true)
		l.run(time.Duration(rapid.IntRange(0, 5000).Draw(t, "cut for")) * time.Millisecond)
		l.split(alive[:cut], alive[cut:], false)
	case "loss":
		l.loss = rapid.Float64Range(0, 0.9).Draw(t, "loss")
	case "verdict": // only gossip errs
		m := alive[rapid.IntRange(0, len(alive)-1).Draw(t, "other")]
		if m != n {
			l.dir.Cut(n.name, m.name, true)
			l.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "errs for")) * time.Millisecond)
			l.dir.Cut(n.name, m.name, false)
		}
	}
}

// forgetSilent is an operator who gives up what is silent and holds partitions.
func (l *lab) forgetSilent() {
	l.t.Helper()
	for range 5 {
		if n := l.leader(); n != nil {
			for _, owner := range slices.Sorted(maps.Keys(n.keeper.Table().named)) {
				if owner != "" && l.node(owner) == nil {
					if _, err := n.keeper.Forget(l.now, string(owner)); err != nil {
						l.t.Fatalf("%s cannot forget %s: %v", n.name, owner, err)
					}
					l.after(n)
				}
			}
		}
		l.run(2 * time.Second)
	}
}
