package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/roomring/roomring/proto"
)

// Announced is what a node tells the others about itself while it runs.
type Announced struct {
	Instance proto.Instance // zero until known
	Voter    proto.NodeName // the name under which it votes, "" until known
	Draining bool
}

// Membership knows which nodes there are. Gossip is the real one; a Directory serves tests and
// simulation.
type Membership interface {
	// Run takes part until ctx ends, then says that this node leaves. When it returns,
	// everything that it started has ended.
	Run(ctx context.Context) error

	// Nodes returns everybody who is known, this node too and the dead until they are forgotten,
	// in any order. The caller may keep the slice.
	Nodes() []Node

	// Changed receives a value after Nodes changed; several changes may be one value.
	Changed() <-chan struct{}

	// Announce tells the others, without waiting until they heard it.
	Announce(Announced)

	// Greet tells that a node lives at a gossip address, though Nodes calls it dead. It does not wait
	// until the two have spoken.
	Greet(address string)
}

// Directory is a cluster's membership in memory: what gossip would spread, everybody knows at once.
// It is for tests and simulation. Its methods may be called by several goroutines.
type Directory struct {
	mu      sync.Mutex
	nodes   map[proto.NodeName]Node
	members map[proto.NodeName]*Static
	cut     map[[2]proto.NodeName]bool // the first thinks that the second is dead
}

// NewDirectory returns one without nodes.
func NewDirectory() *Directory {
	return &Directory{
		nodes:   make(map[proto.NodeName]Node),
		members: make(map[proto.NodeName]*Static),
		cut:     make(map[[2]proto.NodeName]bool),
	}
}

// Join adds or replaces a node and returns its Membership.
func (d *Directory) Join(n Node) *Static {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes[n.Name] = n
	s := &Static{directory: d, self: n.Name, changed: make(chan struct{}, 1)}
	d.members[n.Name] = s
	d.tell()
	return s
}

// Set changes what all think of a node.
func (d *Directory) Set(name proto.NodeName, state State) {
	d.update(name, func(n *Node) { n.State = state })
}

// Leave has a node say that it leaves for good.
func (d *Directory) Leave(name proto.NodeName) {
	d.update(name, func(n *Node) { n.State, n.Left = Dead, true })
}

// Forget removes a node.
func (d *Directory) Forget(name proto.NodeName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.nodes, name)
	delete(d.members, name)
	d.tell()
}

// Cut makes a and b think of each other that they are dead; with cut false they see each other
// again.
func (d *Directory) Cut(a, b proto.NodeName, cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut[[2]proto.NodeName{a, b}] = cut
	d.cut[[2]proto.NodeName{b, a}] = cut
	d.tell()
}

func (d *Directory) update(name proto.NodeName, change func(*Node)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.nodes[name]
	if !ok {
		return
	}
	change(&n)
	d.nodes[name] = n
	d.tell()
}

// tell wakes every member. The caller holds mu.
func (d *Directory) tell() {
	for _, s := range d.members {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// Static is a node's Membership in a Directory.
type Static struct {
	directory *Directory
	self      proto.NodeName
	changed   chan struct{}
}

var _ Membership = (*Static)(nil)

// Run waits for the end of ctx. The Directory goes on showing the node as it was: a test that wants
// it to have left says so with Set.
func (s *Static) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Nodes returns the Directory's nodes, sorted by name, as this one sees them.
func (s *Static) Nodes() []Node {
	d := s.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	nodes := make([]Node, 0, len(d.nodes))
	for _, name := range slices.Sorted(maps.Keys(d.nodes)) {
		n := d.nodes[name]
		if d.cut[[2]proto.NodeName{s.self, name}] {
			n.State = Dead
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// Changed receives a value after the Directory changed.
func (s *Static) Changed() <-chan struct{} { return s.changed }

// Greet does nothing: who sees whom is for the test to say.
func (s *Static) Greet(string) {}

// Announce shows everybody what this node says about itself.
func (s *Static) Announce(a Announced) {
	s.directory.update(s.self, func(n *Node) {
		n.Instance, n.Voter = a.Instance, a.Voter
		if a.Draining && n.State == Alive {
			n.State = Draining
		}
	})
}
