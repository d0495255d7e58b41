package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// startOverGossip starts a Cluster with real gossip; only its links are in memory.
func (m *mesh) startOverGossip(t *testing.T, id proto.NodeID, run int, role proto.Role, seeds []string) (*meshNode, string) {
	t.Helper()
	self := Node{Name: proto.MakeNodeName(id, proto.Incarnation(run)), Role: role, Lanes: 2, Started: int64(run)}
	g, err := NewGossip(GossipConfig{Self: self, Cluster: "ring", Seeds: seeds, Keys: [][]byte{[]byte("0123456789abcdef")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Open(); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{
		Self:       self,
		Membership: g,
		Register:   NewLocal(self.Name),
		Seeded:     true,
		Followers:  1,
		MaxMoves:   1024, // the copies are empty: what is moved at a time is another test's concern
		Send:       func(to proto.NodeName, frame []byte) { m.send(self.Name, to, frame) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	if role == proto.RoleShard {
		go clerk(ctx, c, func(to proto.NodeName, frame []byte) { m.send(self.Name, to, frame) })
	}
	n := &meshNode{Cluster: c, stop: func() {
		m.unlink(self.Name, EndLeft)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run = %v, want the context's error", err)
		}
	}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, other := range m.nodes {
		other.LinkUp(self.Name)
		n.LinkUp(name)
	}
	m.nodes[self.Name] = n
	return n, g.Addr()
}

// waitForOneRing waits until all nodes show the same settled document of so many living nodes.
func waitForOneRing(t *testing.T, living int, nodes ...*meshNode) RingDocument {
	t.Helper()
	changed := make(chan struct{}, 1)
	for _, n := range nodes {
		w, stop := n.Watch()
		defer stop()
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case <-w:
					signal(changed)
				case <-done:
					return
				}
			}
		}()
	}
	deadline := time.After(patience)
	for {
		documents := make(map[string]bool)
		for _, n := range nodes {
			if !n.Settled() || n.Table().Mark() != nodes[0].Table().Mark() {
				documents = nil // the whole documents are many bytes, and the Table changes often
				break
			}
			b, err := json.Marshal(n.Describe(true))
			if err != nil {
				t.Fatal(err)
			}
			documents[string(b)] = true
		}
		if documents == nil {
			select {
			case <-changed:
				continue
			case <-deadline:
				t.Fatalf("no one ring of %d nodes: at least one is not settled", living)
			}
		}
		d := nodes[0].Describe(true)
		alive := 0
		for _, n := range d.Nodes {
			if n.State == "alive" {
				alive++
			}
		}
		if len(documents) == 1 && d.Settled && alive == living {
			return d
		}
		select {
		case <-changed:
		case <-deadline:
			for doc := range documents {
				t.Logf("%.2000s", doc)
			}
			t.Fatalf("no one ring of %d nodes", living)
		}
	}
}

// TestOneRingOverGossip: three shards and two routers with nothing but seeds become one ring, and
// stay one when the founder leaves and comes back.
func TestOneRingOverGossip(t *testing.T) {
	m := newMesh()
	var nodes []*meshNode
	var seeds []string
	for i, id := range []proto.NodeID{"r1", "s1", "s2", "r2", "s3"} {
		role := proto.RoleShard
		if id[0] == 'r' {
			role = proto.RoleRouter
		}
		n, address := m.startOverGossip(t, id, i+1, role, seeds)
		nodes, seeds = append(nodes, n), append(seeds, address)
	}
	started := time.Now()
	d := waitForOneRing(t, 5, nodes...)
	t.Logf("one ring %v after the last start", time.Since(started))
	if d.Leader != "s1" || d.Version>>32 != 0 || len(d.Table) != proto.Partitions {
		t.Errorf("leader %q, version %d, %d rows", d.Leader, d.Version, len(d.Table))
	}

	stopped := time.Now()
	nodes[1].stop()
	rest := []*meshNode{nodes[0], nodes[2], nodes[3], nodes[4]}
	d = waitForOneRing(t, 4, rest...)
	t.Logf("one ring %v after the founder left", time.Since(stopped))
	if d.Leader != "s2" || d.Version>>32 != 1 { // the only voter left: the others founded the next generation
		t.Errorf("leader %q, version %#x after the founder left", d.Leader, d.Version)
	}

	back, _ := m.startOverGossip(t, "s1", 9, proto.RoleShard, seeds[:1])
	d = waitForOneRing(t, 5, append(rest, back)...)
	for _, n := range d.Nodes {
		if n.ID == "s1" && (n.Owned == 0 || n.Following == 0) {
			t.Errorf("a shard that came back owns %d partitions and follows %d: it has not taken its share", n.Owned, n.Following)
		}
	}
	t.Logf("version %d when it had its share", d.Version&math.MaxUint32)
	for _, n := range append(rest, back) {
		n.stop()
	}
}
