package cluster

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/proto"
)

// mesh links Clusters in memory: a frame that is sent is handled at once, unless it is dropped.
type mesh struct {
	dir *Directory

	mu    sync.Mutex
	nodes map[proto.NodeName]*meshNode
	drop  func(from, to proto.NodeName, typ proto.FrameType) bool
}

type meshNode struct {
	*Cluster
	stop func()
}

func newMesh() *mesh {
	return &mesh{dir: NewDirectory(), nodes: make(map[proto.NodeName]*meshNode)}
}

func (m *mesh) send(from, to proto.NodeName, frame []byte) {
	m.mu.Lock()
	n, drop := m.nodes[to], m.drop
	m.mu.Unlock()
	if typ := proto.FrameType(frame[4]); n != nil && (drop == nil || !drop(from, to, typ)) {
		n.HandleFrame(from, typ, frame[proto.HeaderSize:])
	}
}

func (m *mesh) start(t *testing.T, id proto.NodeID, run int, role proto.Role, expect int) *meshNode {
	t.Helper()
	self := Node{Name: proto.MakeNodeName(id, proto.Incarnation(run)), Role: role, Lanes: 1, Started: int64(run)}
	c, err := New(Config{
		Self:            self,
		Name:            "test",
		Membership:      m.dir.Join(self),
		BootstrapExpect: expect,
		Partitions:      testPartitions,
		Send:            func(to proto.NodeName, frame []byte) { m.send(self.Name, to, frame) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	n := &meshNode{Cluster: c, stop: sync.OnceFunc(func() {
		m.unlink(self.Name)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run = %v, want the context's error", err)
		}
	})}
	t.Cleanup(n.stop)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, other := range m.nodes {
		other.LinkUp(self.Name)
		n.LinkUp(name)
	}
	m.nodes[self.Name] = n
	return n
}

func (m *mesh) unlink(name proto.NodeName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.nodes, name)
	for _, other := range m.nodes {
		other.LinkDown(name)
	}
}

// kill ends a node; a second later membership says that it is dead.
func (m *mesh) kill(n *meshNode) {
	n.stop()
	time.Sleep(time.Second) // of synctest's time
	m.dir.Set(n.cfg.Self.Name, Dead)
}

func mustAgree(t *testing.T, nodes ...*meshNode) {
	t.Helper()
	synctest.Wait()
	first := nodes[0].Describe(true)
	if !first.Settled || len(first.Table) != testPartitions {
		t.Errorf("%s is not settled: %+v", nodes[0].cfg.Self.Name, first)
	}
	for _, n := range nodes[1:] {
		if d := n.Describe(true); !reflect.DeepEqual(d, first) {
			t.Errorf("%s and %s differ:\n%+v\n%+v", nodes[0].cfg.Self.Name, n.cfg.Self.Name, first, d)
		}
	}
}

func TestClusterLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		r1 := m.start(t, "r1", 1, proto.RoleRouter, 0)
		s2 := m.start(t, "s2", 2, proto.RoleShard, 3)
		s1 := m.start(t, "s1", 3, proto.RoleShard, 3)
		changed, unwatch := r1.Watch()
		defer unwatch()
		s3 := m.start(t, "s3", 4, proto.RoleShard, 3)
		time.Sleep(2 * time.Second)
		mustAgree(t, r1, s1, s2, s3)
		<-changed
		if d := r1.Describe(false); d.Leader != "s1" || d.Version != 1 || d.Table != nil || d.Instance == "" || d.SingleCopy != testPartitions {
			t.Errorf("described as %+v", d)
		}

		m.kill(s1)
		time.Sleep(100 * time.Millisecond)
		mustAgree(t, r1, s2, s3)
		if d := r1.Describe(false); d.Leader != "s2" || d.Version != 2 {
			t.Errorf("after the coordinator's death: %+v", d)
		}

		m.mu.Lock()
		m.drop = func(_, to proto.NodeName, typ proto.FrameType) bool {
			return to == r1.cfg.Self.Name && typ == proto.FrameDelta
		}
		m.mu.Unlock()
		m.kill(s3)
		time.Sleep(time.Second)
		mustAgree(t, r1, s2)

		s2.Drain()
		synctest.Wait()
		if state := r1.View().State(s2.cfg.Self.Name); state != Draining {
			t.Errorf("a node that drains is %v", state)
		}
	})
}

func TestClusterIgnoresNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		s := m.start(t, "s1", 1, proto.RoleShard, 1)
		synctest.Wait()
		for range 10 {
			s.HandleFrame("x/0000000000001", proto.FrameTable, []byte("nonsense"))
		}
		synctest.Wait()
		if s.Stats().Bad.Load() != 10 {
			t.Errorf("%d bad frames, want 10", s.Stats().Bad.Load())
		}
		mustAgree(t, s)
	})
}

// TestInboxIsBounded: what nobody takes out does not pile up.
func TestInboxIsBounded(t *testing.T) {
	m := newMesh()
	self := Node{Name: nameA, Role: proto.RoleShard, Lanes: 1}
	c, err := New(Config{Self: self, Membership: m.dir.Join(self), Send: func(proto.NodeName, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 1<<20)
	for range 20 {
		c.HandleFrame(nameB, proto.FrameTable, frame)
	}
	if c.inboxBytes > maxInbox || c.stats.Dropped.Load() == 0 {
		t.Errorf("%d bytes are waiting, %d frames dropped", c.inboxBytes, c.stats.Dropped.Load())
	}
	for range 20 {
		c.NeedTable(0, 1)
	}
	if last := c.inbox[len(c.inbox)-2]; last.kind == tableNeeded {
		t.Error("more than one ask for a table waits")
	}
	c.LinkUp(nameB)
	if len(c.inbox) == 0 || c.inbox[len(c.inbox)-1].kind != linkUp {
		t.Error("a link was dropped")
	}
}

func TestNewRefuses(t *testing.T) {
	self := Node{Name: nameA, Role: proto.RoleShard}
	member := NewDirectory().Join(self)
	send := func(proto.NodeName, []byte) {}
	for name, cfg := range map[string]Config{
		"no name":       {Self: Node{Role: proto.RoleShard}, Membership: member, Send: send},
		"no role":       {Self: Node{Name: nameA}, Membership: member, Send: send},
		"no membership": {Self: self, Send: send},
		"no send":       {Self: self, Membership: member},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
