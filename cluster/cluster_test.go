package cluster

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/proto"
)

// mesh links Clusters in memory: a frame that is sent is handled at once, unless it is dropped.
type mesh struct {
	dir       *Directory
	followers int

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
	if m.nodes[from] == nil {
		n = nil
	}
	m.mu.Unlock()
	switch typ := proto.FrameType(frame[4]); {
	case n == nil || drop != nil && drop(from, to, typ):
	case typ == proto.FramePromise:
		m.send(to, from, promiseAll(frame[proto.HeaderSize:]))
	default:
		n.HandleFrame(from, typ, frame[proto.HeaderSize:])
	}
}

func (m *mesh) start(t *testing.T, id proto.NodeID, run int, role proto.Role, expect int) *meshNode {
	t.Helper()
	self := Node{Name: proto.MakeNodeName(id, proto.Incarnation(run)), Role: role, Lanes: 1, Started: int64(run), Addresses: Addresses{Link: string(id) + ":1"}}
	c, err := New(Config{
		Self:            self,
		Name:            "test",
		Membership:      m.dir.Join(self),
		Register:        NewLocal(self.Name),
		BootstrapExpect: expect,
		Partitions:      testPartitions,
		Followers:       m.followers,
		Send:            func(to proto.NodeName, frame []byte) { m.send(self.Name, to, frame) },
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
	n := &meshNode{Cluster: c, stop: sync.OnceFunc(func() {
		m.unlink(self.Name, EndLeft)
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

func (m *mesh) unlink(name proto.NodeName, end LinkEnd) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[name]
	if n == nil {
		return
	}
	delete(m.nodes, name)
	for other, o := range m.nodes {
		o.LinkDown(name, end)
		n.LinkDown(other, EndSilent)
	}
}

// leave ends a node that says goodbye.
func (m *mesh) leave(n *meshNode) {
	n.stop()
	m.dir.Leave(n.cfg.Self.Name)
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

// TestClusterLives: four nodes found a cluster, lose its founder, with which their only voter goes,
// recover by themselves, and heal a delta that never came.
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
		d := r1.Describe(false)
		if d.Leader != "s1" || !slices.Equal(d.Voters, []string{"s1"}) || d.Table != nil || d.Instance == "" || d.SingleCopy != testPartitions {
			t.Errorf("described as %+v", d)
		}
		if !s1.Stance().Leading || r1.Stance().Leading || r1.Stance().Leader != s1.cfg.Self.Name || !r1.Stance().Relieved {
			t.Errorf("the leader stands at %+v, the router at %+v", s1.Stance(), r1.Stance())
		}

		m.leave(s1)
		synctest.Wait()
		if d := r1.Describe(false); d.Settled || r1.View().State(s1.cfg.Self.Name) != Dead {
			t.Errorf("right after the founder left: %+v", d)
		}
		time.Sleep(leaderQuiet + 2*time.Second + 2*quietFor)
		mustAgree(t, r1, s2, s3)
		if d := r1.Describe(false); d.Leader != "s2" || r1.Founding().Generation != 1 || r1.Instance() != s1.Instance() {
			t.Errorf("after the founder left: %+v", d)
		}

		m.mu.Lock()
		m.drop = func(_, to proto.NodeName, typ proto.FrameType) bool {
			return to == r1.cfg.Self.Name && typ == proto.FrameDelta
		}
		m.mu.Unlock()
		m.leave(s3)
		time.Sleep(time.Second + 2*quietFor)
		mustAgree(t, r1, s2)

		s2.Drain()
		synctest.Wait()
		if state := r1.View().State(s2.cfg.Self.Name); state != Draining {
			t.Errorf("a node that drains is %v", state)
		}
	})
}

// TestClusterFailsOver: what a shard owned goes on at its followers at once, and is copied again.
func TestClusterFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		m.followers = 1
		s1 := m.start(t, "s1", 1, proto.RoleShard, 3)
		s2 := m.start(t, "s2", 2, proto.RoleShard, 3)
		s3 := m.start(t, "s3", 3, proto.RoleShard, 3)
		time.Sleep(5 * time.Second)
		mustAgree(t, s1, s2, s3)
		if d := s1.Describe(true); d.SingleCopy != 0 || s1.Stance().Free || len(d.Table[0].Followers) != 1 {
			t.Fatalf("described as %+v", d)
		}
		m.mu.Lock()
		m.drop = func(_, to proto.NodeName, typ proto.FrameType) bool {
			return to == s2.cfg.Self.Name && typ == proto.FramePromise // it does not hear what it is asked for
		}
		m.mu.Unlock()
		m.leave(s3)
		time.Sleep(gatherFor + 10*time.Millisecond)
		table := s1.Table()
		for p, r := range table.Rows() {
			if follows := s3.Table().Row(p).Followers[0]; r.Since != 1 || r.Owner == s3.cfg.Self.Name && follows != s2.cfg.Self.Name {
				t.Errorf("partition %d: %+v", p, r)
			}
		}
		if named := table.named[s1.cfg.Self.Name].owned; named <= s3.Table().named[s1.cfg.Self.Name].owned {
			t.Errorf("s1 owns %d partitions", named)
		}
		if table.named[s3.cfg.Self.Name].owned == 0 {
			t.Error("s2 owns what it has not promised")
		}
		m.mu.Lock()
		m.drop = nil
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		mustAgree(t, s1, s2)
	})
}

// TestProbesAreWatched: gossip hears a node again that was taken for dead. The View stays, and who asks
// after nodes is woken all the same.
func TestProbesAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		s1 := m.start(t, "s1", 1, proto.RoleShard, 2)
		s2 := m.start(t, "s2", 2, proto.RoleShard, 2)
		r1 := m.start(t, "r1", 3, proto.RoleRouter, 0)
		time.Sleep(2 * time.Second)
		lost := s2.cfg.Self.Name
		m.dir.Set(lost, Dead)
		for _, n := range []*meshNode{s1, r1} {
			n.LinkDown(lost, EndBroken)
			n.SetFate(lost, FateRefused)
		}
		time.Sleep(time.Second)
		if s1.View().State(lost) != Dead || len(s1.Probes()) != 0 {
			t.Fatalf("it is %v, and asked after: %v", s1.View().State(lost), s1.Probes())
		}
		changed, unwatch := s1.Watch()
		defer unwatch()
		synctest.Wait()
		m.dir.Set(lost, Alive)
		<-changed
		if len(s1.Probes()) != 1 {
			t.Errorf("asked after: %v", s1.Probes())
		}
	})
}

// TestForgetAndRecover: what operators do waits until it is done.
func TestForgetAndRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		s1 := m.start(t, "s1", 1, proto.RoleShard, 2)
		s2 := m.start(t, "s2", 2, proto.RoleShard, 2)
		r1 := m.start(t, "r1", 3, proto.RoleRouter, 0)
		time.Sleep(2 * time.Second)
		mustAgree(t, s1, s2, r1)
		if _, err := r1.Forget(t.Context(), "s2"); !errors.Is(err, ErrNotLeading) {
			t.Errorf("forget on a follower: %v", err)
		}
		if run, err := s1.Forget(t.Context(), "s2"); !errors.Is(err, ErrAlive) || run != s2.cfg.Self.Name {
			t.Errorf("forget a living node: %v, %v", run, err)
		}
		if _, _, err := s2.Recover(t.Context()); !errors.Is(err, ErrMajority) {
			t.Errorf("recover while there is a leader: %v", err)
		}

		m.unlink(s2.cfg.Self.Name, EndSilent)
		if run, err := s1.Forget(t.Context(), "s2"); err != nil || run != s2.cfg.Self.Name {
			t.Errorf("forget a silent node: %v, %v", run, err)
		}
		time.Sleep(time.Second)
		if owned := s1.Describe(false).Nodes; owned[1].ID != "s1" || owned[1].Owned != testPartitions {
			t.Errorf("after an operator's word: %+v", owned)
		}

		s3 := m.start(t, "s3", 4, proto.RoleShard, 2)
		time.Sleep(time.Second)
		m.unlink(s1.cfg.Self.Name, EndSilent)
		m.dir.Set(s1.cfg.Self.Name, Dead)
		time.Sleep(leaderQuiet)
		if _, _, err := r1.Recover(t.Context()); err == nil {
			t.Error("a router recovered the cluster")
		}
		soon, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		before, after, err := s3.Recover(soon)
		if err != nil || before.Founding().Generation != 0 || after.Founding().Generation != 1 || after.Instance != before.Instance {
			t.Errorf("recovered from %+v to %+v, %v", before, after, err)
		}
		time.Sleep(time.Second)
		if a, b := s3.Describe(true).Fingerprint, r1.Describe(true).Fingerprint; a != b || r1.Founding().Generation != 1 {
			t.Errorf("the router holds %s, the shard %s", b, a)
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
		if s.Stats().FramesBad.Load() != 10 {
			t.Errorf("%d bad frames, want 10", s.Stats().FramesBad.Load())
		}
		mustAgree(t, s)
	})
}

// TestInboxIsBounded: what nobody takes out does not pile up.
func TestInboxIsBounded(t *testing.T) {
	m := newMesh()
	self := Node{Name: nameA, Role: proto.RoleShard, Lanes: 1}
	c, err := New(Config{Self: self, Membership: m.dir.Join(self), Register: NewLocal(nameA), Send: func(proto.NodeName, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 1<<20)
	for range 20 {
		c.HandleFrame(nameB, proto.FrameTable, frame)
	}
	if c.inboxBytes > maxInbox || c.stats.FramesDropped.Load() == 0 {
		t.Errorf("%d bytes are waiting, %d frames dropped", c.inboxBytes, c.stats.FramesDropped.Load())
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
	local := NewLocal(nameA)
	for name, cfg := range map[string]Config{
		"no name":       {Self: Node{Role: proto.RoleShard}, Membership: member, Register: local, Send: send},
		"no role":       {Self: Node{Name: nameA}, Membership: member, Register: local, Send: send},
		"no membership": {Self: self, Register: local, Send: send},
		"no register":   {Self: self, Membership: member, Send: send},
		"no send":       {Self: self, Membership: member, Register: local},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
