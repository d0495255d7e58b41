package cluster

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	leaderQuiet   = 3 * time.Second // after so long without a word from a leader there is none
	twinGrace     = 5 * time.Second // for two runs of one id before it is called a mistake
	waitLogEvery  = 5 * time.Second
	foundingQuiet = 500 * time.Millisecond
)

// KeeperConfig is what a Keeper needs to know.
type KeeperConfig struct {
	Self proto.NodeName
	Role proto.Role

	// Partitions is the number of rows of the Table. If zero, proto.Partitions.
	Partitions int

	// Expect is how many shards must be there to found a cluster. If zero, 1.
	Expect int

	// Seeded says that there are other nodes to join: they may know a cluster.
	Seeded bool

	// Followers is how many copies beside the owner's the partitions of a cluster should have that
	// this node leads, 0 or 1 (more is taken for 1). If negative, it has no opinion: as the Table says,
	// or 1 in a new cluster. Routers never have one.
	Followers int

	// MaxMoves is how many partitions are moved at a time, refills included. If zero, 32; if negative,
	// none is.
	MaxMoves int

	// Random is where a new instance is drawn from. If nil, crypto/rand.
	Random io.Reader

	// Logger hears of foundings, owners that changed and mistakes. If nil, nobody does.
	Logger *zap.Logger

	// Stats counts what happens. If nil, nobody sees it.
	Stats *Stats

	// Break switches a rule off, so that a simulation can see that it is noticed.
	Break Break
}

// Break is a rule of the Keeper that is switched off. Only tests do that.
type Break uint8

// The rules.
const (
	BreakProof   Break = 1 << iota // silence is taken for proof of death (R9)
	BreakWitness                   // one witness of a closed port is enough (R9)
	BreakQuiet                     // a new leader judges silence at once (R10)
)

func (c KeeperConfig) withDefaults() KeeperConfig {
	if c.Partitions <= 0 {
		c.Partitions = proto.Partitions
	}
	c.Expect = max(c.Expect, 1)
	c.Followers = min(c.Followers, plan.MaxFollowers)
	if c.Role != proto.RoleShard {
		c.Followers = -1
	}
	if c.MaxMoves == 0 {
		c.MaxMoves = 32
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Stats == nil {
		c.Stats = new(Stats)
	}
	return c
}

// Send is a frame to be sent to a linked node. Several Sends may share the frame's bytes: they must
// not be changed.
type Send struct {
	To    proto.NodeName
	Frame []byte
}

// Issue is an Order under a number, by which Done tells how it went.
type Issue struct {
	Number uint64
	Order  Order
}

// Keeper keeps one node's View, Ring and copy of the Table, and is the coordinator while this node
// leads the register. It is a pure core: it is told what happened and when, and what it wants sent,
// ordered and probed is fetched with Take, Orders and Probes. It has no lock; one goroutine (or a
// simulation) calls it.
//
// Invariant: its Table is one that the register committed, and never goes back to a lower Version.
type Keeper struct {
	cfg   KeeperConfig
	log   *zap.Logger
	stats *Stats

	nodes []Node // as membership told, without what links and witnesses add; sorted by name
	view  *View
	ring  *Ring
	table *Table // the newest copy, wherever it came from
	reg   Status

	peers  map[proto.NodeName]*peer
	linked []proto.NodeName // keys of peers, sorted
	deaths deaths

	rifts   map[plan.Pair]*rift
	apart   []plan.Pair // of them those that count, sorted; replaced, never changed
	riftsAt time.Time   // when they were last looked at

	leader  leader
	lead    lead
	ask     ask
	attempt *attempt
	bond    bond

	places     places
	foundAgain time.Time // not before then, because the register could not

	announced time.Time
	waitLog   time.Time
	shards    []proto.NodeName // who could found the cluster, and since when they are the same
	shardsAt  time.Time
	twins     map[proto.NodeID]time.Time // since when two runs of it live; zero: said so
	foreign   proto.Instance             // the other instance that was last complained about
	led       bool                       // somebody led the register when that was last looked at
	holders   map[proto.NodeName]Node    // by voter of the Table: the last run seen that votes under the name
	dropped   proto.Founding             // whose share of the register is being thrown away, and by which order
	reset     uint64
	alone     bool // this node founded its cluster, and nobody else named it yet

	frame  []byte // the Table as a frame, made when first needed; nil after each change
	out    []Send
	issues []Issue
	number uint64 // of the last Issue

	greetings []string // gossip addresses; each once
}

// peer is a node that we have a link to.
type peer struct {
	links int
	said  Announcement // its last
}

// leader is who last said that it leads the register.
type leader struct {
	node       proto.NodeName
	generation uint32
	term       uint64
	at         time.Time
}

// NewKeeper returns a Keeper that sees nobody and holds nothing.
func NewKeeper(cfg KeeperConfig) *Keeper {
	cfg = cfg.withDefaults()
	return &Keeper{
		cfg:     cfg,
		log:     cfg.Logger,
		stats:   cfg.Stats,
		view:    NewView(0, nil),
		ring:    &Ring{},
		peers:   make(map[proto.NodeName]*peer),
		deaths:  newDeaths(),
		rifts:   make(map[plan.Pair]*rift),
		holders: make(map[proto.NodeName]Node),
	}
}

// View returns what is seen now, never nil.
func (k *Keeper) View() *View { return k.view }

// Ring returns where partitions should live now, never nil.
func (k *Keeper) Ring() *Ring { return k.ring }

// Table returns the newest copy that is held, nil when there is none yet.
func (k *Keeper) Table() *Table { return k.table }

// Founding returns which founding of which cluster this node belongs to, zero while it knows none.
func (k *Keeper) Founding() proto.Founding {
	if k.table != nil {
		return k.table.Founding()
	}
	return k.reg.Founding
}

// Instance returns the cluster that this node belongs to, zero while it knows none.
func (k *Keeper) Instance() proto.Instance { return k.Founding().Instance }

// Leader returns the node that leads the register, "" when none has been heard of for 3 s: then the
// Table cannot change.
func (k *Keeper) Leader(now time.Time) proto.NodeName {
	if k.reg.Term != 0 {
		return k.cfg.Self
	}
	if k.leader.node == "" || now.Sub(k.leader.at) >= leaderQuiet {
		return ""
	}
	return k.leader.node
}

// Stance returns where this node stands towards the register.
func (k *Keeper) Stance(now time.Time) Stance {
	s := Stance{Founding: k.Founding(), Leader: k.Leader(now), Term: k.reg.Term, Leading: k.reg.Term != 0, Relieved: k.relieved(), Free: k.free()}
	if !s.Leading && s.Leader != "" {
		s.Term = k.leader.term
	}
	return s
}

// free reports whether nothing of the Table is here or on its way, or nobody else is there to take it.
func (k *Keeper) free() bool {
	if k.cfg.Role != proto.RoleShard || k.table == nil || !k.table.Names(k.cfg.Self) {
		return true
	}
	return !slices.ContainsFunc(k.view.nodes, func(n Node) bool {
		return n.Name != k.cfg.Self && n.LiveShard() && n.State != Draining && n.Instance == k.Instance()
	})
}

// relieved reports whether the register can do without this node: it has no part in it, or nobody
// else is there to take it.
func (k *Keeper) relieved() bool {
	part := func(s plan.Server) bool { return s.Name == k.reg.Voter }
	if k.reg.Term == 0 && !k.voting() {
		return true
	}
	if k.reg.Term != 0 && !slices.ContainsFunc(k.reg.Servers, part) {
		return true
	}
	return !slices.ContainsFunc(k.view.nodes, func(n Node) bool {
		return n.Name != k.cfg.Self && n.Lives() && n.State != Draining && n.Voter != "" && n.Instance == k.Instance()
	})
}

// voting reports whether this node has a vote, as far as its Table says.
func (k *Keeper) voting() bool {
	return k.table != nil && slices.Contains(k.table.Voters, k.reg.Voter)
}

// Take returns what is to be sent since the last Take, in order.
func (k *Keeper) Take() []Send {
	out := k.out
	k.out = nil
	return out
}

// Orders returns what is wanted of the register since the last call, in order. Done is to be called
// for each.
func (k *Keeper) Orders() []Issue {
	issues := k.issues
	k.issues = nil
	return issues
}

// Greetings returns the gossip addresses of nodes that were heard of since the last call, and that
// membership takes for dead. It is to greet them.
func (k *Keeper) Greetings() []string {
	addresses := k.greetings
	k.greetings = nil
	return addresses
}

// order asks the register for something and returns the number under which Done will tell.
func (k *Keeper) order(o Order) uint64 {
	k.number++
	k.issues = append(k.issues, Issue{k.number, o})
	return k.number
}

// Done is told how an order went, after SetRegister was told what the register is by then: who does not
// know yet what was done would do it again.
func (k *Keeper) Done(now time.Time, number uint64, err error) {
	k.lead.due = true
	k.leadDone(now, number, err)
	k.foundDone(now, number, err)
	if number == k.reset && err != nil {
		k.log.Error("the old register cannot be dropped", zap.Error(err))
		k.dropped = proto.Founding{} // it is tried again when the register says the next time that it is there
	}
	k.Tick(now)
}

// SetNodes is told all nodes that membership knows, this one too.
func (k *Keeper) SetNodes(now time.Time, nodes []Node) {
	k.lead.due = true
	// Membership has them in any order; who is in it is asked for each of them, many times a second.
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	k.nodes = nodes
	for i := range nodes {
		if nodes[i].Left {
			k.noteFate(now, nodes[i].Name, FateLeft)
		}
	}
	k.look(now)
	k.Tick(now)
}

// SetRegister is told what this node's register says now.
func (k *Keeper) SetRegister(now time.Time, s Status) {
	k.lead.due = true
	if s.Founding == k.dropped {
		s = Status{Voter: s.Voter}
	}
	old, was := k.table, k.reg
	k.reg = s
	if s.Term != was.Term || s.Term != 0 && s.Founding != was.Founding {
		k.changeLead(now, &was)
	}
	if k.newer(s.Table) {
		k.hold(now, s.Table)
		if s.Term != 0 {
			k.push(old)
		}
		if s.Term != 0 && old == nil {
			k.sendAll(k.Announce()) // who had no Table did not know whom we lead
		}
	}
	if s.Founding != was.Founding {
		k.look(now)
	}
	if s.Applied != was.Applied && !k.voting() {
		k.sendAll(k.Announce()) // the sooner the leader hears that a learner is there, the sooner it votes
	}
	k.Tick(now)
}

// LinkUp is told that a link to the node is open. Of several links to a node the first one counts.
func (k *Keeper) LinkUp(now time.Time, to proto.NodeName) {
	k.lead.due = true
	p := k.peers[to]
	if p == nil {
		p = &peer{}
		k.peers[to] = p
		at, _ := slices.BinarySearch(k.linked, to)
		k.linked = slices.Insert(k.linked, at, to)
	}
	p.links++
	if p.links > 1 {
		return
	}
	k.deaths.lives(to)
	k.greet(to)
	k.look(now)
	if k.table != nil {
		k.send(to, k.tableFrame())
	}
	k.send(to, k.Announce())
	k.Tick(now)
}

// LinkDown is told that a link to the node is gone, and how. When the last one is, the node is
// suspect until a link is back or its fate is known.
func (k *Keeper) LinkDown(now time.Time, to proto.NodeName, end LinkEnd) {
	k.lead.due = true
	p := k.peers[to]
	if p == nil {
		return
	}
	if p.links--; p.links > 0 {
		return
	}
	delete(k.peers, to)
	if at, ok := slices.BinarySearch(k.linked, to); ok {
		k.linked = slices.Delete(k.linked, at, at+1)
	}
	k.lose(now, to, end)
	k.look(now)
	k.Tick(now)
}

// Frame is told that a frame about the Table came from a linked node, or from this one. It fails when the body cannot
// be parsed or its sender is set up for another number of partitions; what is merely not wanted is
// dropped.
func (k *Keeper) Frame(now time.Time, from proto.NodeName, typ proto.FrameType, body []byte) error {
	var err error
	switch typ {
	case proto.FrameTable:
		err = k.onTable(now, from, body)
	case proto.FrameDelta:
		err = k.onDelta(now, from, body)
	case proto.FrameTableGet:
		err = k.onTableGet(from, body)
	case proto.FrameVersion:
		err = k.onVersion(now, from, body)
	case proto.FrameWitness:
		err = k.onWitness(now, from, body)
	case proto.FrameFound:
		err = k.onFound(now, from, body)
	case proto.FrameAgree:
		err = k.onAgree(now, from, body)
	case proto.FramePromised:
		err = k.onPromised(from, body)
	case proto.FrameWish:
		err = k.onWish(now, from, body)
	default:
		err = errors.New("not about the table")
	}
	if err != nil {
		return fmt.Errorf("frame %#02x from %s: %w", uint8(typ), from, err)
	}
	k.Tick(now)
	return nil
}

// Wake returns when Tick should be called, though nothing may have happened until then; zero if it is
// enough to call it as always.
func (k *Keeper) Wake(now time.Time) time.Time {
	if k.reg.Term == 0 {
		return time.Time{}
	}
	at := k.lead.failover.wake(now)
	if next := k.lead.proposed.Add(moveApart); k.lead.paced && next.After(now) && (at.IsZero() || next.Before(at)) {
		return next
	}
	return at
}

// Tick does what is due. It is called at least every 100 ms.
func (k *Keeper) Tick(now time.Time) {
	k.giveUp(now)
	k.forsake()
	k.found(now)
	k.recoverAlone(now)
	k.watchRifts(now)
	k.coordinate(now)
	k.askAgain(now)
	k.reportTwins(now)
	k.reportLeader(now)
	k.reportWishes(now)
	if now.Sub(k.announced) >= announceEvery {
		k.announced = now
		k.sendAll(k.Announce())
		k.noteFormer(now)
		k.testify(now)
	}
}

// look makes the View anew from what membership, links and witnesses say.
func (k *Keeper) look(now time.Time) {
	nodes := slices.Clone(k.nodes)
	for i := range nodes {
		n := &nodes[i]
		if n.Name == k.cfg.Self {
			n.Instance, n.Voter = k.Instance(), k.reg.Voter
			continue
		}
		p := k.peers[n.Name]
		if p != nil && !p.said.Instance.IsZero() {
			n.Instance = p.said.Instance // a link is quicker than gossip
		}
		n.State = k.deaths.state(n, p != nil)
		if k.table != nil && slices.Contains(k.table.Forgotten, n.Name) {
			n.State = Dead // on an operator's word: the Ring must not want it for what it loses
		}
	}
	k.noteHolders(nodes)
	view, settings := NewView(k.view.version+1, nodes), k.settings()
	if view.same(k.view) && settings == k.ring.settings {
		return
	}
	k.reportNodes(view)
	k.view = view
	k.ring = NewRing(view, k.Instance(), settings, k.cfg.Partitions, k.ring)
	k.watchFounders(now)
	k.watchTwins(now)
	k.reportForeign()
}

// settings are the Table's, or those that a new cluster will have.
func (k *Keeper) settings() plan.Settings {
	if k.table != nil {
		return k.table.Settings
	}
	s := plan.DefaultSettings()
	if k.cfg.Followers >= 0 {
		s.Followers = uint8(k.cfg.Followers)
	}
	return s
}

// noteHolders remembers which run voted last under each voter's name: membership forgets the dead.
func (k *Keeper) noteHolders(nodes []Node) {
	if k.table == nil {
		return
	}
	for i := range nodes {
		n := &nodes[i]
		if was, known := k.holders[n.Voter]; slices.Contains(k.table.Voters, n.Voter) && (!known || laterRun(n, &was) > 0) {
			k.holders[n.Voter] = *n
		}
	}
}

func (k *Keeper) send(to proto.NodeName, frame []byte) {
	k.out = append(k.out, Send{To: to, Frame: frame})
}

func (k *Keeper) sendAll(frame []byte) {
	for _, to := range k.linked {
		k.send(to, frame)
	}
}

// heardLeader notes who leads. Of two who say so, the one with the later term does.
func (k *Keeper) heardLeader(now time.Time, from proto.NodeName, said *Announcement) {
	own, generation := k.Founding(), uint32(said.Mark.Version>>32)
	if said.Term == 0 || said.Instance != own.Instance || generation < own.Generation {
		return // who has stepped down is soon followed by another: until then there is no need to worry
	}
	newer := cmp.Or(cmp.Compare(generation, k.leader.generation), cmp.Compare(said.Term, k.leader.term))
	if newer >= 0 || now.Sub(k.leader.at) >= leaderQuiet {
		k.leader = leader{node: from, generation: generation, term: said.Term, at: now}
	}
}

// verdict is what is held of a node's life.
func (k *Keeper) verdict(now time.Time, name proto.NodeName) plan.Verdict {
	switch {
	case name == k.cfg.Self:
		return plan.Lives
	case k.deaths.proved[name] != FateUnknown, k.table != nil && slices.Contains(k.table.Forgotten, name):
		return plan.Proved
	case k.peers[name] != nil:
		return plan.Lives
	case !k.deaths.silent(now, name, k.heardDead(name)) || !k.mayJudge(now):
		return plan.Lives
	case k.cfg.Break&BreakProof != 0:
		return plan.Proved
	}
	return plan.Silent
}

// heardDead reports whether membership calls the node dead.
func (k *Keeper) heardDead(name proto.NodeName) bool {
	n := k.heardOf(name)
	return n != nil && n.State == Dead
}

// heardOf is what membership says of the node, nil for nothing.
func (k *Keeper) heardOf(name proto.NodeName) *Node {
	at, ok := slices.BinarySearchFunc(k.nodes, name, func(n Node, name proto.NodeName) int { return cmp.Compare(n.Name, name) })
	if !ok {
		return nil
	}
	return &k.nodes[at]
}
