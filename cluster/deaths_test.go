package cluster

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// desk is one keeper, told by hand. Its register is led by it unless a test says otherwise.
type desk struct {
	t     *testing.T
	k     *Keeper
	now   time.Time
	nodes []Node
	reg   Status
}

// newDesk seats the first of the nodes; all hold the Table's partitions in turn and are linked.
func newDesk(t *testing.T, rules Break, nodes ...Node) *desk {
	t.Helper()
	rows := make([]Row, testPartitions)
	for p := range rows {
		rows[p] = Row{Owner: nodes[p%len(nodes)].Name, Term: 1, Since: 1}
	}
	self := nodes[0]
	d := &desk{t: t, now: time.Unix(1_000, 0), nodes: nodes}
	d.k = NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: testPartitions, Break: rules})
	head := Head{Instance: inst, Version: 1, Settings: plan.DefaultSettings(), Voters: []proto.NodeName{self.Name}}
	head.Settings.Followers = 0 // as its config says
	for i := range nodes {
		nodes[i].Instance = inst
		head.Addresses = append(head.Addresses, Address{nodes[i].Name, nodes[i].Addresses.Link})
	}
	d.reg = Status{
		Voter: self.Name, Founding: proto.Founding{Instance: inst}, Term: 1, Leader: self.Name, Applied: 1,
		Table: NewTable(head, rows), Servers: []plan.Server{{Name: self.Name, Voter: true}},
	}
	d.k.SetRegister(d.now, d.reg)
	d.k.SetNodes(d.now, nodes)
	for _, n := range nodes[1:] {
		d.k.LinkUp(d.now, n.Name)
	}
	d.k.Take()
	d.pass(judgeAfter)
	d.commands() // none is due; voters are not what these tests are about
	return d
}

// pass lets time go on, in ticks.
func (d *desk) pass(by time.Duration) {
	for end := d.now.Add(by); d.now.Before(end); {
		d.now = d.now.Add(min(100*time.Millisecond, end.Sub(d.now)))
		d.k.Tick(d.now)
	}
}

// commands returns the proposals since the last call.
func (d *desk) commands() (list []Issue) {
	for _, i := range d.k.Orders() {
		if i.Order.Kind == OrderPropose {
			list = append(list, i)
		}
	}
	return list
}

// moved reports whether it is proposed to take partitions from the node.
func (d *desk) moved(n Node) bool {
	for _, i := range d.commands() {
		for _, c := range i.Order.Command.Changes {
			if d.k.Table().Row(c.Partition).Owner == n.Name {
				return true
			}
		}
	}
	return false
}

func (d *desk) frame(from Node, typ proto.FrameType, whole []byte) {
	d.t.Helper()
	if err := d.k.Frame(d.now, from.Name, typ, whole[proto.HeaderSize:]); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) witness(from Node, deaths ...Death) {
	d.t.Helper()
	d.frame(from, proto.FrameWitness, AppendWitness(nil, deaths))
}

// set tells what membership says of a node.
func (d *desk) set(n Node, change func(*Node)) {
	for i := range d.nodes {
		if d.nodes[i].Name == n.Name {
			change(&d.nodes[i])
		}
	}
	d.k.SetNodes(d.now, d.nodes)
}

// TestProof: what proves a death (rule R9), and what does not however long it lasts.
func TestProof(t *testing.T) {
	s1, s2, s3, r1 := shard("s1", 1), shard("s2", 2), shard("s3", 3), router("r1", 4)
	broken := func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndBroken) }
	for name, c := range map[string]struct {
		happens func(d *desk)
		proved  bool
	}{
		"a goodbye":                    {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndLeft) }, true},
		"a goodbye that another heard": {func(d *desk) { broken(d); d.witness(r1, Death{s3.Name, FateLeft}) }, true},
		"gossip's word that it left": {func(d *desk) {
			d.set(s3, func(n *Node) { n.State, n.Left = Dead, true })
			broken(d)
		}, true},
		"gossip's word, after the link went": {func(d *desk) {
			broken(d)
			d.set(s3, func(n *Node) { n.State, n.Left = Dead, true })
		}, true},
		"a later run at its address":           {func(d *desk) { broken(d); d.k.SetFate(d.now, s3.Name, FateReplaced) }, true},
		"a later run that another saw":         {func(d *desk) { broken(d); d.witness(r1, Death{s3.Name, FateReplaced}) }, true},
		"a later run where it was only silent": {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndSilent); d.k.SetFate(d.now, s3.Name, FateReplaced) }, true},
		"a closed port, seen by two": {func(d *desk) {
			broken(d)
			d.k.SetFate(d.now, s3.Name, FateRefused)
			d.witness(s2, Death{s3.Name, FateRefused})
		}, true},
		"a closed port, seen by two others": {func(d *desk) {
			broken(d)
			d.witness(s2, Death{s3.Name, FateRefused})
			d.witness(r1, Death{s3.Name, FateRefused})
		}, true},
		"a closed port, seen by one": {func(d *desk) { broken(d); d.k.SetFate(d.now, s3.Name, FateRefused) }, false},
		"a closed port, said twice by one other": {func(d *desk) {
			broken(d)
			d.witness(s2, Death{s3.Name, FateRefused}, Death{s3.Name, FateRefused})
			d.witness(s2, Death{s3.Name, FateRefused})
		}, false},
		"a closed port where the link was only silent": {func(d *desk) {
			d.k.LinkDown(d.now, s3.Name, EndSilent)
			d.k.SetFate(d.now, s3.Name, FateRefused)
			d.witness(s2, Death{s3.Name, FateRefused})
		}, false},
		"a closed port long before the other's": {func(d *desk) {
			d.k.LinkDown(d.now, s3.Name, EndSilent)
			d.witness(s2, Death{s3.Name, FateRefused})
			d.pass(reportAge)
			d.witness(r1, Death{s3.Name, FateRefused})
		}, false},
		"a closed port that opened again": {func(d *desk) {
			broken(d)
			d.k.SetFate(d.now, s3.Name, FateRefused)
			d.k.SetFate(d.now, s3.Name, FateAlive)
			d.witness(s2, Death{s3.Name, FateRefused})
		}, false},
		"silence":                       {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndSilent) }, false},
		"a broken link":                 {broken, false},
		"a link closed on purpose":      {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndClosed) }, false},
		"gossip's verdict":              {func(d *desk) { broken(d); d.set(s3, func(n *Node) { n.State = Dead }) }, false},
		"gossip's verdict while linked": {func(d *desk) { d.set(s3, func(n *Node) { n.State = Dead }) }, false},
		"its own answer":                {func(d *desk) { broken(d); d.k.SetFate(d.now, s3.Name, FateAlive) }, false},
		"another's word that it lives":  {func(d *desk) { broken(d); d.witness(s2, Death{s3.Name, FateAlive}) }, false},
		"anything while it is linked":   {func(d *desk) { d.witness(s2, Death{s3.Name, FateLeft}); d.k.SetFate(d.now, s3.Name, FateReplaced) }, false},
		"another's goodbye":             {func(d *desk) { broken(d); d.witness(s2, Death{r1.Name, FateLeft}) }, false},
	} {
		d := newDesk(t, 0, s1, s2, s3, r1)
		c.happens(d)
		moved := d.moved(s3)
		if c.proved {
			if !moved || d.k.View().State(s3.Name) != Dead {
				t.Errorf("%s: moved %v, the node is %v", name, moved, d.k.View().State(s3.Name))
			}
			continue
		}
		d.pass(time.Minute)
		if moved || d.moved(s3) {
			t.Errorf("%s is taken for proof", name)
		}
	}
}

// TestHeardAgain: a proof that turns out wrong is dropped, with all that led to it.
func TestHeardAgain(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.k.LinkDown(d.now, s3.Name, EndLeft)
	if d.k.View().State(s3.Name) != Dead {
		t.Fatal("a goodbye does not count")
	}
	d.k.LinkUp(d.now, s3.Name)
	if state := d.k.View().State(s3.Name); state != Alive {
		t.Errorf("heard again it is %v", state)
	}
	d.k.LinkDown(d.now, s3.Name, EndBroken)
	d.commands()
	d.witness(s2, Death{s3.Name, FateRefused})
	if state := d.k.View().State(s3.Name); state != Suspect {
		t.Errorf("after one new report it is %v", state)
	}
}

// TestHeardAfterASplit: membership's verdict proves nothing. Who answers a probe, or links, is no more than
// suspect, so that it is linked to; and membership is told to greet it.
func TestHeardAfterASplit(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	s3.Addresses.Gossip = "s3:7401"
	d := newDesk(t, 0, s1, s2, s3)
	check := func(when string, want State, greetings ...string) {
		t.Helper()
		if state := d.k.View().State(s3.Name); state != want {
			t.Errorf("%s it is %v, want %v", when, state, want)
		}
		if got := d.k.Greetings(); !slices.Equal(got, greetings) {
			t.Errorf("%s it greets %q, want %q", when, got, greetings)
		}
	}
	d.k.LinkDown(d.now, s3.Name, EndSilent)
	check("without a link", Suspect)
	d.set(s3, func(n *Node) { n.State = Dead })
	check("with gossip's verdict", Dead)
	d.k.SetFate(d.now, s3.Name, FateUnknown)
	check("when it does not answer", Dead)
	d.k.SetFate(d.now, s3.Name, FateAlive)
	d.k.SetFate(d.now, s3.Name, FateAlive)
	check("when it answers", Suspect, s3.Addresses.Gossip)
	d.k.SetFate(d.now, s3.Name, FateUnknown)
	check("when it answers no more", Dead)
	d.k.SetFate(d.now, s3.Name, FateAlive)
	d.k.LinkUp(d.now, s3.Name)
	check("when it links", Suspect, s3.Addresses.Gossip)
	d.set(s3, func(n *Node) { n.State = Alive })
	check("when gossip hears it", Alive)
	d.k.LinkDown(d.now, s3.Name, EndSilent)
	d.set(s3, func(n *Node) { n.State = Dead })
	check("after the next split", Dead)
}

// TestRefusedInItsName: a firewall that answers with resets for a living host looks like its death. When
// it is gone the node answers, and all is well, though nobody linked to it meanwhile.
func TestRefusedInItsName(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.k.LinkDown(d.now, s3.Name, EndBroken)
	d.k.SetFate(d.now, s3.Name, FateRefused)
	d.witness(s2, Death{s3.Name, FateRefused})
	asked := func() bool {
		return slices.ContainsFunc(d.k.Probes(), func(p Probe) bool { return p.Name == s3.Name })
	}
	if state := d.k.View().State(s3.Name); state != Dead || !asked() {
		t.Fatalf("it is %v, and asked after: %v", state, asked())
	}
	d.set(s3, func(n *Node) { n.State = Dead })
	if asked() {
		t.Error("it is asked after though gossip does not hear it either")
	}
	d.set(s3, func(n *Node) { n.State = Alive })
	d.k.SetFate(d.now, s3.Name, FateAlive)
	if state := d.k.View().State(s3.Name); state != Alive {
		t.Errorf("it answers, and is %v", state)
	}
}

// TestWitnessesTell: what a node sees it tells all, at once and twice a second; what it does not see
// itself it does not.
func TestWitnessesTell(t *testing.T) {
	s1, s2, s3, r1 := shard("s1", 1), shard("s2", 2), shard("s3", 3), router("r1", 4)
	d := newDesk(t, 0, s1, s2, s3, r1)
	said := func() (deaths []Death) {
		for _, s := range kept(d.k.Take(), proto.FrameWitness) {
			list, err := ParseWitness(s.Frame[proto.HeaderSize:])
			if err != nil {
				t.Fatal(err)
			}
			if s.To == s2.Name {
				deaths = append(deaths, list...)
			}
		}
		return deaths
	}
	d.k.LinkDown(d.now, s3.Name, EndBroken)
	d.witness(s2, Death{s3.Name, FateRefused})
	if list := said(); len(list) != 0 {
		t.Errorf("it passes on what it only heard: %v", list)
	}
	d.k.SetFate(d.now, s3.Name, FateRefused)
	if list := said(); len(list) != 1 || list[0] != (Death{s3.Name, FateRefused}) {
		t.Errorf("it says %v", list)
	}
	d.pass(2 * time.Second)
	if n := len(said()); n < 3 || n > 4 {
		t.Errorf("said %d times in 2 s, want it twice a second", n)
	}
	d.k.LinkUp(d.now, s3.Name)
	said()
	d.pass(2 * time.Second)
	if list := said(); len(list) != 0 {
		t.Errorf("of a node that is back it says %v", list)
	}
}

// TestSilence: who counts as silent, and when (rule R10). A silent shard keeps all that it has.
func TestSilence(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	dead := func(n *Node) { n.State = Dead }
	for name, c := range map[string]struct {
		happens func(d *desk)
		after   time.Duration // a negative one: never
		state   State
	}{
		"a broken link":                        {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndBroken) }, 1500 * time.Millisecond, Suspect},
		"a link that was silent":               {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndSilent) }, 0, Suspect},
		"a broken link, and gossip's verdict":  {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndBroken); d.set(s3, dead) }, time.Second, Dead},
		"gossip's verdict alone":               {func(d *desk) { d.set(s3, dead) }, -1, Suspect},
		"one of two links":                     {func(d *desk) { d.k.LinkUp(d.now, s3.Name); d.k.LinkDown(d.now, s3.Name, EndBroken) }, -1, Alive},
		"a link that is back":                  {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndBroken); d.k.LinkUp(d.now, s3.Name) }, -1, Alive},
		"a link that is back, gossip is wrong": {func(d *desk) { d.k.LinkDown(d.now, s3.Name, EndBroken); d.set(s3, dead); d.k.LinkUp(d.now, s3.Name) }, -1, Suspect},
	} {
		d := newDesk(t, 0, s1, s2, s3)
		c.happens(d)
		began := d.now
		if state := d.k.View().State(s3.Name); state != c.state {
			t.Errorf("%s: it is %v, want %v", name, state, c.state)
		}
		for d.now.Sub(began) < 5*time.Second {
			want := plan.Lives
			if c.after >= 0 && d.now.Sub(began) >= c.after {
				want = plan.Silent
			}
			if v := d.k.verdict(d.now, s3.Name); v != want {
				t.Errorf("%s: after %v the verdict is %v, want %v", name, d.now.Sub(began), v, want)
				break
			}
			d.pass(50 * time.Millisecond)
		}
		if d.moved(s3) {
			t.Errorf("%s: it lost partitions", name)
		}
	}
}

// TestNewLeaderJudgesNobody: for the first half second of its reign a leader holds nobody for silent,
// whatever it did not hear (rule R10); of proofs it is sure at once.
func TestNewLeaderJudgesNobody(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	for _, rules := range []Break{0, BreakQuiet} {
		d := newDesk(t, rules, s1, s2, s3)
		d.k.LinkDown(d.now, s2.Name, EndLeft)
		d.k.LinkDown(d.now, s3.Name, EndSilent)
		d.pass(time.Second)
		d.commands()
		d.reg.Term, d.reg.Applied = 0, 2
		d.k.SetRegister(d.now, d.reg)
		d.reg.Term = 7
		d.k.SetRegister(d.now, d.reg)
		if early := d.k.verdict(d.now, s3.Name); (early == plan.Lives) != (rules == 0) {
			t.Errorf("rules off %b: right after the barrier the silent is %v", rules, early)
		}
		if list := d.commands(); len(list) != 1 || list[0].Order.Command.Term != 7 {
			t.Errorf("rules off %b: who left for good loses its partitions at once: %+v", rules, list)
		}
		d.pass(judgeAfter)
		if late := d.k.verdict(d.now, s3.Name); late != plan.Silent {
			t.Errorf("rules off %b: half a second later the silent is %v", rules, late)
		}
	}
}

// TestUnseenOwnerHasGrace: who was never linked is judged later than one that was.
func TestUnseenOwnerHasGrace(t *testing.T) {
	d := newDesk(t, 0, shard("s1", 1), shard("s2", 2))
	stranger := proto.MakeNodeName("s9", 9)
	d.k.verdict(d.now, stranger) // the question starts the clock
	d.pass(unseenGrace - 10*time.Millisecond)
	if v := d.k.verdict(d.now, stranger); v != plan.Lives {
		t.Errorf("within the grace it is %v", v)
	}
	d.pass(10 * time.Millisecond)
	if v := d.k.verdict(d.now, stranger); v != plan.Silent {
		t.Errorf("after the grace it is %v", v)
	}
}

// TestForget: an operator's word is proof, once it is in the Table, and only of one who does not live.
func TestForget(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	forget := func(name string) (proto.NodeName, error) { return d.k.Forget(d.now, name) }
	for name, want := range map[string]error{"s9": ErrUnknown, "s3": ErrAlive, string(s3.Name): ErrAlive, "s3/0000000000009": ErrUnknown, "s1": ErrAlive} {
		if _, err := forget(name); !errors.Is(err, want) {
			t.Errorf("forget %s: %v, want %v", name, err, want)
		}
	}
	d.k.LinkDown(d.now, s3.Name, EndSilent)
	d.k.LinkDown(d.now, s2.Name, EndSilent)
	if run, err := forget("s3"); run != s3.Name || err != nil {
		t.Errorf("forget a silent node by its id: %v, %v", run, err)
	}
	list := d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Forget) != 1 || len(list[0].Order.Command.Changes) != 0 {
		t.Fatalf("commands %+v", list)
	}
	if run, err := forget(string(s2.Name)); run != s2.Name || err != nil { // while the first is under way
		t.Errorf("forget a silent node by its name: %v, %v", run, err)
	}
	d.commit(list[0])
	list = d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Forget) != 1 || list[0].Order.Command.Forget[0] != s2.Name {
		t.Fatalf("what was asked for meanwhile is not done: %+v", list)
	}
	d.commit(list[0])
	for range 3 {
		if list = d.commands(); len(list) == 1 {
			d.commit(list[0])
		}
	}
	for p, row := range d.k.Table().Rows() {
		if row.Owner != s1.Name {
			t.Errorf("partition %d stays with %s", p, row.Owner)
		}
	}
	if len(d.k.Table().Forgotten) != 0 {
		t.Errorf("there is nothing left to forget, and yet %v", d.k.Table().Forgotten)
	}

	d.reg.Term = 0
	d.k.SetRegister(d.now, d.reg)
	if _, err := forget("s3"); !errors.Is(err, ErrNotLeading) {
		t.Errorf("forget at a node that does not lead: %v", err)
	}
}

// TestForgetChoosesTheDeadRun: of an id with several runs the one that is meant is the one that does
// not live.
func TestForgetChoosesTheDeadRun(t *testing.T) {
	s1, old := shard("s1", 1), shard("s3", 3)
	d := newDesk(t, 0, s1, old)
	d.k.LinkDown(d.now, old.Name, EndSilent)
	young := shard("s3", 8)
	young.Instance = inst
	d.nodes = append(d.nodes, young)
	d.k.SetNodes(d.now, d.nodes)
	d.k.LinkUp(d.now, young.Name)
	if run, err := d.k.Forget(d.now, "s3"); run != old.Name || err != nil {
		t.Errorf("it forgets %s, %v", run, err)
	}
}

// TestProbes: whose fate is asked for.
func TestProbes(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	probes := func() (ids string) {
		for _, p := range d.k.Probes() {
			if p.Link != linkOf(p.Name) {
				t.Errorf("%s is asked for at %q", p.Name, p.Link)
			}
			ids += string(p.Name.ID()) + " "
		}
		return ids
	}
	if got := probes(); got != "" {
		t.Errorf("in peace it asks for %s", got)
	}
	d.k.LinkDown(d.now, s3.Name, EndSilent)
	if got := probes(); got != "s3 " {
		t.Errorf("with a link lost it asks for %s", got)
	}
	d.k.SetFate(d.now, s3.Name, FateReplaced)
	if got := probes(); got != "" {
		t.Errorf("of one dead for certain it still asks: %s", got)
	}
	d.nodes = d.nodes[:1]
	d.k.LinkDown(d.now, s2.Name, EndBroken)
	d.k.SetNodes(d.now, d.nodes) // membership forgot all: the Table has not
	if got := probes(); got != "s2 " {
		t.Errorf("with nobody in sight it asks for %s", got)
	}
}

// TestEndsOfShards runs whole clusters without followers: how a shard ends, and how soon its partitions
// begin anew elsewhere.
func TestEndsOfShards(t *testing.T) {
	never := time.Duration(0)
	for name, c := range map[string]struct {
		shards int
		rules  Break
		end    func(*lab, *labNode)
		within time.Duration
	}{
		"leaves":                        {3, 0, func(l *lab, n *labNode) { l.leave(n) }, 500 * time.Millisecond},
		"killed":                        {3, 0, func(l *lab, n *labNode) { l.kill(n) }, time.Second},
		"killed, one witness":           {2, 0, func(l *lab, n *labNode) { l.kill(n) }, never},
		"killed, one witness, rule off": {2, BreakWitness, func(l *lab, n *labNode) { l.kill(n) }, time.Second},
		"killed, comes back, 1 witness": {2, 0, func(l *lab, n *labNode) { l.kill(n); l.start(n.name.ID(), n.role) }, time.Second},
		"vanishes":                      {3, 0, func(l *lab, n *labNode) { l.vanish(n); l.judge(n) }, never},
		"vanishes, rule off":            {3, BreakProof, func(l *lab, n *labNode) { l.vanish(n); l.judge(n) }, 4 * time.Second},
		"vanishes, comes back":          {3, 0, func(l *lab, n *labNode) { l.vanish(n); n.hidden = false; l.start(n.name.ID(), n.role) }, 4 * time.Second},
	} {
		l := newLab(t, 1)
		l.rules, l.followers = c.rules, 0
		s := l.shards(c.shards)
		last := s[len(s)-1]
		if last == l.leader() {
			last = s[1]
		}
		owned := func() bool {
			for _, r := range s[0].keeper.Table().Rows() {
				if r.Owner == last.name {
					return true
				}
			}
			return false
		}
		if !owned() {
			t.Fatalf("%s: the test errs: it owns nothing", name)
		}
		c.end(l, last)
		if c.within == never {
			l.run(time.Minute)
			if !owned() {
				t.Errorf("%s: its partitions were taken without proof", name)
			}
			continue
		}
		l.until(name+": others own its partitions", c.within, func() bool { return !owned() })
	}
}

// TestRuleR9IsSeen: with silence taken for proof, a split gives partitions of the living away. The lab
// must notice.
func TestRuleR9IsSeen(t *testing.T) {
	for _, rules := range []Break{0, BreakProof} {
		seen := false
		func() {
			caught := &catcher{}
			defer func() {
				if r := recover(); r != nil && r != any(caught) {
					panic(r)
				}
				seen = caught.failed
			}()
			l := newLab(caught, 1)
			l.rules, l.followers = rules, 0
			s := l.shards(3)
			other := s[0]
			if other == l.leader() {
				other = s[1]
			}
			var rest []*labNode
			for _, n := range s {
				if n != other {
					rest = append(rest, n)
				}
			}
			l.split([]*labNode{other}, rest, true)
			l.run(10 * time.Second)
			l.split([]*labNode{other}, rest, false)
			l.settle()
		}()
		if seen != (rules != 0) {
			t.Errorf("rules off %b: noticed is %v", rules, seen)
		}
	}
}

// catcher notes that a lab failed.
type catcher struct{ failed bool }

func (c *catcher) Helper() {}
func (c *catcher) Fatalf(string, ...any) {
	c.failed = true
	panic(c)
}

// TestFormerRuns: an earlier run of this node that had its data directory is dead for certain, though nobody
// saw it die and nothing answers at its address; all are told. One that is linked lives all the same, and
// one that the Table does not name is of no use to anybody.
func TestFormerRuns(t *testing.T) {
	s1, old, linked, unnamed, r1 := shard("s1", 9), shard("s1", 1), shard("s1", 2), shard("s1", 3), router("r1", 1)
	d := newDesk(t, 0, s1, linked)
	d.k.SetNodes(d.now, []Node{s1, linked, r1})
	d.k.LinkUp(d.now, r1.Name)
	d.rows(func(p int) Row {
		return Row{Owner: []proto.NodeName{old.Name, linked.Name}[p%2], Term: 2, Since: 2}
	})
	d.k.Take()
	d.pass(2 * announceEvery)
	if f := d.k.Fates(); len(f) != 0 {
		t.Fatalf("without a directory: %v", f)
	}
	d.reg.Former = []proto.NodeName{old.Name, linked.Name, unnamed.Name}
	d.k.SetRegister(d.now, d.reg)
	d.k.Take()
	d.pass(2 * announceEvery)
	if f := d.k.Fates(); len(f) != 1 || f[old.Name] != FateReplaced {
		t.Errorf("fates %v, want that of %s alone", f, old.Name)
	}
	told := false
	for _, s := range kept(d.k.Take(), proto.FrameWitness) {
		deaths, err := ParseWitness(s.Frame[proto.HeaderSize:])
		told = told || err == nil && s.To == r1.Name && slices.Contains(deaths, Death{old.Name, FateReplaced})
	}
	if !told {
		t.Error("nobody is told")
	}
}
