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

	"github.com/roomring/roomring/proto"
)

const (
	announceEvery = 500 * time.Millisecond // a lost delta is noticed within this
	askAgainAfter = 500 * time.Millisecond // without an answer, another node is asked
	askAtMost     = 4                      // times in a row; the next announcement starts over
	askApart      = 50 * time.Millisecond  // between two asks on a lane's behalf
	unseenGrace   = 3 * time.Second        // for an owner that no View has shown yet
	twinGrace     = 5 * time.Second        // for two runs of one id before it is called a mistake
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

	// Random is where a new instance is drawn from. If nil, crypto/rand.
	Random io.Reader

	// Logger hears of foundings, owners that changed and mistakes. If nil, nobody does.
	Logger *zap.Logger
}

func (c KeeperConfig) withDefaults() KeeperConfig {
	if c.Partitions <= 0 {
		c.Partitions = proto.Partitions
	}
	c.Expect = max(c.Expect, 1)
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Send is a frame to be sent to a linked node. Several Sends may share the frame's bytes: they must
// not be changed.
type Send struct {
	To    proto.NodeName
	Frame []byte
}

// Keeper keeps one node's View, Ring and copy of the Table. It is a pure core: it is told what
// happened and when, and what it wants sent is fetched with Take. It has no lock; one goroutine (or
// a simulation) calls it.
//
// Invariant: no row of its Table ever goes back to a lower term. A row changes under the same term
// only in Tables of two coordinators, and then the coordinator that learns of it gives the
// partition a new term. So all copies converge once one coordinator is linked to every node: each
// node tells it twice a second what it holds, and whatever differs is merged and published above
// all that was seen.
type Keeper struct {
	cfg KeeperConfig
	log *zap.Logger

	nodes []Node // as membership told, without what links and the Table add
	view  *View
	ring  *Ring
	reg   Local

	peers  map[proto.NodeName]*peer
	linked []proto.NodeName        // keys of peers, sorted
	lost   map[proto.NodeName]bool // had a link and has none now

	dirty     bool // View or Table changed since the coordinator looked
	unseen    map[proto.NodeName]time.Time
	ask       ask
	announced time.Time
	waitLog   time.Time
	shards    []proto.NodeName // who could found the cluster, and since when they are the same
	shardsAt  time.Time
	twins     map[proto.NodeID]time.Time // since when two runs of it live; zero: said so
	foreign   proto.Instance             // the other instance that was last complained about
	alone     bool                       // this node founded its cluster, and nobody else named it yet

	frame []byte // the Table as a frame, made when first needed; nil after each change
	out   []Send
}

// peer is a node that we have a link to.
type peer struct {
	links    int
	instance proto.Instance // the cluster that it last said to belong to
	mark     Mark           // what it last said that it holds
}

// ask is the one outstanding question for a whole Table.
type ask struct {
	from  proto.NodeName // "" when there is none
	at    time.Time
	tries int
}

// NewKeeper returns a Keeper that sees nobody and holds nothing.
func NewKeeper(cfg KeeperConfig) *Keeper {
	cfg = cfg.withDefaults()
	return &Keeper{
		cfg:    cfg,
		log:    cfg.Logger,
		view:   NewView(0, nil),
		ring:   &Ring{},
		peers:  make(map[proto.NodeName]*peer),
		lost:   make(map[proto.NodeName]bool),
		unseen: make(map[proto.NodeName]time.Time),
	}
}

// View returns what is seen now, never nil.
func (k *Keeper) View() *View { return k.view }

// Ring returns where partitions should live now, never nil.
func (k *Keeper) Ring() *Ring { return k.ring }

// Table returns the copy that is held, nil when there is none yet.
func (k *Keeper) Table() *Table { return k.reg.Table() }

// Instance returns the cluster that this node belongs to, zero while it holds no Table.
func (k *Keeper) Instance() proto.Instance {
	if t := k.Table(); t != nil {
		return t.Instance
	}
	return proto.Instance{}
}

// Take returns what is to be sent since the last Take, in order.
func (k *Keeper) Take() []Send {
	out := k.out
	k.out = nil
	return out
}

// SetNodes is told all nodes that membership knows, this one too.
func (k *Keeper) SetNodes(now time.Time, nodes []Node) {
	k.nodes = nodes
	k.look(now)
	k.Tick(now)
}

// LinkUp is told that a link to the node is open. Of several links to a node the first one counts.
func (k *Keeper) LinkUp(now time.Time, to proto.NodeName) {
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
	if k.lost[to] {
		delete(k.lost, to)
		k.look(now)
	}
	if t := k.Table(); t != nil && k.cfg.Role == proto.RoleShard && t.Version > p.mark.Version {
		k.send(to, k.tableFrame())
	} else {
		k.send(to, k.Announce())
	}
	k.Tick(now)
}

// LinkDown is told that a link to the node is gone. When the last one is, the node is suspect
// until a link is back or membership has judged.
func (k *Keeper) LinkDown(now time.Time, to proto.NodeName) {
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
	k.lost[to] = true
	k.look(now)
	k.Tick(now)
}

// Frame is told that a Table, Delta, TableGet or Version frame came from a linked node. It fails
// when the body cannot be parsed or its sender is set up for another number of partitions; what is
// merely not wanted is dropped.
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
	default:
		err = errors.New("not about the table")
	}
	if err != nil {
		return fmt.Errorf("frame %#02x from %s: %w", uint8(typ), from, err)
	}
	k.Tick(now)
	return nil
}

// NeedTable is told that somebody uses a higher term for the partition than our Table has. It asks
// for a newer one, at most one question at a time.
func (k *Keeper) NeedTable(now time.Time, p proto.Partition, term proto.Term) {
	if t := k.Table(); t != nil && (int(p) >= len(t.rows) || t.rows[p].Term >= term) {
		return
	}
	if now.Sub(k.ask.at) >= askApart {
		k.askFor(now, k.nextToAsk(""))
	}
}

// Tick does what is due. It is called at least every 100 ms.
func (k *Keeper) Tick(now time.Time) {
	k.giveUp(now)
	if k.Table() == nil {
		k.found(now)
	}
	if k.dirty || len(k.unseen) > 0 {
		k.dirty = false
		k.coordinate(now)
	}
	k.askAgain(now)
	k.reportTwins(now)
	if now.Sub(k.announced) >= announceEvery {
		k.announced = now
		frame := k.Announce()
		for _, to := range k.linked {
			k.send(to, frame)
		}
	}
}

// Announce returns the Version frame that says what this node holds.
func (k *Keeper) Announce() []byte {
	return AppendVersion(nil, k.Instance(), k.Table().Mark())
}

// look makes the View anew from what membership, links and the Table say.
func (k *Keeper) look(now time.Time) {
	nodes := slices.Clone(k.nodes)
	for i := range nodes {
		n := &nodes[i]
		if n.Name == k.cfg.Self && !k.Instance().IsZero() {
			n.Instance = k.Instance()
		}
		if p := k.peers[n.Name]; p != nil && n.Instance.IsZero() {
			n.Instance = p.instance // a link is quicker than gossip
		}
		if n.State == Alive && k.lost[n.Name] {
			n.State = Suspect
		}
	}
	view := NewView(k.view.version+1, nodes)
	if view.same(k.view) {
		return
	}
	for name := range k.lost {
		if view.State(name) == Dead {
			delete(k.lost, name) // judged; should it live after all, it starts without a stain
		}
	}
	k.reportNodes(view)
	k.view = view
	k.ring = NewRing(view, k.Instance(), k.cfg.Partitions, k.ring)
	k.dirty = true
	k.watchFounders(now)
	k.watchTwins(now)
	k.reportForeign()
}

// hold makes t this node's Table. The caller has seen to it that no term goes back.
func (k *Keeper) hold(now time.Time, t *Table) {
	first := k.Table() == nil
	k.reg.Hold(t)
	k.frame = nil
	k.dirty = true
	if first {
		k.look(now)
	}
}

func (k *Keeper) tableFrame() []byte {
	if k.frame == nil {
		k.frame = AppendTable(nil, k.Table())
	}
	return k.frame
}

func (k *Keeper) send(to proto.NodeName, frame []byte) {
	k.out = append(k.out, Send{To: to, Frame: frame})
}

// trusts reports whether a Table from this node is taken: from living shards always; from a router
// only where it may be the last to have one, by a shard that has none or has to gather them all.
func (k *Keeper) trusts(from proto.NodeName) bool {
	n, ok := k.view.Node(from)
	if !ok || !n.Lives() {
		return false
	}
	return n.Role == proto.RoleShard || k.cfg.Role == proto.RoleShard && (k.Table() == nil || k.Coordinating())
}

func (k *Keeper) onTable(now time.Time, from proto.NodeName, body []byte) error {
	t, err := ParseTable(body)
	if err != nil {
		return err
	}
	if len(t.rows) != k.cfg.Partitions {
		return fmt.Errorf("table of %d partitions, here are %d", len(t.rows), k.cfg.Partitions)
	}
	k.heard(now, from, t.Instance, t.Mark())
	if from == k.ask.from {
		k.ask.from = ""
	}
	if k.trusts(from) {
		k.absorb(now, t)
	}
	return nil
}

func (k *Keeper) onDelta(now time.Time, from proto.NodeName, body []byte) error {
	d, err := ParseDelta(body)
	if err != nil {
		return err
	}
	k.heard(now, from, d.Instance, d.To)
	if !k.trusts(from) {
		return nil
	}
	if t := k.Table(); t != nil {
		if next, err := t.Apply(&d); err == nil && d.To.Version > t.Version {
			k.publish(now, next)
			return nil
		}
	}
	k.compare(now, from, d.Instance, d.To)
	return nil
}

func (k *Keeper) onTableGet(from proto.NodeName, body []byte) error {
	if _, err := ParseTableGet(body); err != nil {
		return err
	}
	if k.Table() != nil {
		k.send(from, k.tableFrame())
	}
	return nil
}

func (k *Keeper) onVersion(now time.Time, from proto.NodeName, body []byte) error {
	instance, mark, err := ParseVersion(body)
	if err != nil {
		return err
	}
	k.heard(now, from, instance, mark)
	k.compare(now, from, instance, mark)
	return nil
}

func (k *Keeper) heard(now time.Time, from proto.NodeName, instance proto.Instance, mark Mark) {
	p := k.peers[from]
	if p == nil {
		return
	}
	p.mark = mark
	if p.instance != instance {
		p.instance = instance
		k.look(now)
	}
}

// compare asks the node for its Table if it seems to hold what we lack: a higher version, or
// another Table of our version where one of us is the coordinator, who can tell which is right.
func (k *Keeper) compare(now time.Time, from proto.NodeName, instance proto.Instance, mark Mark) {
	own := k.Table().Mark()
	if mark.Version == 0 || mark == own || mark.Version < own.Version || !k.trusts(from) {
		return
	}
	if own.Version != 0 && instance != k.Instance() {
		return
	}
	if mark.Version > own.Version || k.Coordinating() || from == k.view.Coordinator(instance) {
		k.askFor(now, from)
	}
}

// askFor sends a TableGet, unless a question is outstanding or there is nobody to ask.
func (k *Keeper) askFor(now time.Time, from proto.NodeName) {
	if from == "" || k.ask.from != "" && now.Sub(k.ask.at) < askAgainAfter {
		return
	}
	if k.ask.from == "" {
		k.ask.tries = 0
	}
	k.ask = ask{from: from, at: now, tries: k.ask.tries + 1}
	k.send(from, AppendTableGet(nil, k.Table().Mark().Version))
}

func (k *Keeper) askAgain(now time.Time) {
	if k.ask.from == "" || now.Sub(k.ask.at) < askAgainAfter {
		return
	}
	if k.ask.tries >= askAtMost {
		k.ask.from = ""
		return
	}
	k.askFor(now, k.nextToAsk(k.ask.from))
}

// nextToAsk returns a linked node that a Table is taken from: the coordinator first, then, when it
// was asked already, the others in turn.
func (k *Keeper) nextToAsk(last proto.NodeName) proto.NodeName {
	if c := k.view.Coordinator(k.Instance()); last == "" && c != k.cfg.Self && k.peers[c] != nil {
		return c
	}
	at, _ := slices.BinarySearchFunc(k.linked, last, func(n, last proto.NodeName) int {
		return cmp.Or(cmp.Compare(n, last), -1) // the first one behind last
	})
	for i := range k.linked {
		if n := k.linked[(at+i)%len(k.linked)]; k.trusts(n) {
			return n
		}
	}
	return ""
}
