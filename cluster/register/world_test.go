package register

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a few nodes with a register each. In place of links and gossip it has a hello of its own
// and a list of who votes under which name.
type world struct {
	t       testing.TB
	mem     *memnet.Network // nil: loopback
	log     *zap.Logger
	changed chan struct{} // receives a value when something changed at some register

	// trusting switches rule off that a stream names the run and the founding that it means, for
	// tests that show what it is for.
	trusting atomic.Bool

	changes int // made so far by commit

	mu    sync.Mutex
	nodes map[string]*node // by id; who is dead stays until it is started again
}

// node is one run of a node.
type node struct {
	w        *world
	id       string
	name     proto.NodeName
	ip       string
	addr     string
	register *Register
	listener net.Listener
	stop     context.CancelFunc
	ended    sync.WaitGroup
	dead     bool
}

// bubble runs f in fake time over a network in memory.
func bubble(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mem = memnet.New()
		defer w.end()
		f(w)
	})
}

func newWorld(t testing.TB) *world {
	return &world{t: t, log: zap.NewNop(), changed: make(chan struct{}, 1), nodes: make(map[string]*node)}
}

func (w *world) end() {
	for _, n := range w.all() {
		n.kill()
	}
}

func (w *world) all() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*node
	for _, n := range w.nodes {
		if !n.dead {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b *node) int { return bytes.Compare([]byte(a.id), []byte(b.id)) })
	return all
}

// start starts a run of the node id ("s1"); dir is its data directory or "".
func (w *world) start(id string, run int, dir string) *node {
	w.t.Helper()
	name := proto.MakeNodeName(proto.NodeID(id), proto.Incarnation(run))
	n := &node{w: w, id: id, name: name, ip: "10.0.0." + id[1:]}
	r, err := New(Config{Self: name, Dir: dir, Cluster: "test", Partitions: rows, Streams: n, Logger: w.log.With(zap.String("node", string(name)))})
	if err != nil {
		w.t.Fatal(err)
	}
	n.register = r
	if w.mem != nil {
		n.listener, err = w.mem.Listen(n.ip + ":7400")
	} else {
		n.listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	n.addr = n.listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.ended.Go(func() {
		if err := r.Run(ctx); err != nil {
			w.t.Errorf("run of %s: %v", name, err)
		}
	})
	n.ended.Go(n.serve)
	n.ended.Go(func() {
		for {
			select {
			case <-r.Changed():
				select {
				case w.changed <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				return
			}
		}
	})
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
	w.until("a register that runs", func() bool { return r.now().ctx != nil })
	return n
}

// kill ends the run as the death of its process would: its peers see closed connections.
func (n *node) kill() {
	if n.dead {
		return
	}
	n.w.mu.Lock()
	n.dead = true
	n.w.mu.Unlock()
	n.listener.Close()
	n.stop()
	n.ended.Wait()
}

// hello is what a stream of these tests opens with.
type hello struct {
	From, To proto.NodeName
	Founding proto.Founding
}

// Dial implements cluster.Streams.
func (n *node) Dial(ctx context.Context, voter proto.NodeName, founding proto.Founding) (net.Conn, error) {
	var to *node
	for _, o := range n.w.all() {
		if o.register.Status().Voter == voter || n.w.trusting.Load() && o.name.ID() == voter.ID() {
			to = o
		}
	}
	if to == nil {
		return nil, errors.New("nobody votes under that name")
	}
	var c net.Conn
	var err error
	if n.w.mem != nil {
		c, err = n.w.mem.Host(n.ip).DialContext(ctx, to.addr)
	} else {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", to.addr)
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	gob.NewEncoder(&b).Encode(hello{n.name, to.name, founding})
	c.SetDeadline(time.Now().Add(time.Second))
	defer c.SetDeadline(time.Time{})
	if _, err = c.Write(append([]byte{byte(b.Len())}, b.Bytes()...)); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (n *node) serve() {
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		streams.Go(func() {
			if !n.welcome(c) {
				c.Close()
			}
		})
	}
}

// welcome reads the hello, and refuses who means somebody else.
func (n *node) welcome(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(time.Second))
	size := make([]byte, 1)
	if _, err := io.ReadFull(c, size); err != nil {
		return false
	}
	b := make([]byte, size[0])
	if _, err := io.ReadFull(c, b); err != nil {
		return false
	}
	var h hello
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&h); err != nil {
		return false
	}
	if !n.w.trusting.Load() {
		own := n.register.Status().Founding
		if h.To != n.name || own != (proto.Founding{}) && own != h.Founding {
			return false
		}
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return false
	}
	c.SetDeadline(time.Time{})
	n.register.Accept(c, h.From, h.Founding)
	return true
}

// until waits for something to become true.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	if !w.within(20*time.Second, is) {
		for _, n := range w.all() {
			w.t.Logf("%s: %s", n.name, n)
		}
		w.t.Fatalf("no %s in 20 s", what)
	}
}

func (w *world) within(d time.Duration, is func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for !is() {
		select {
		case <-w.changed:
		case <-deadline.C:
			return is()
		}
	}
	return true
}

func (n *node) String() string {
	s := n.register.Status()
	version := uint64(0)
	if s.Table != nil {
		version = s.Table.Version
	}
	return fmt.Sprintf("term %d, leader %s, applied %d, version %d, servers %v", s.Term, s.Leader, s.Applied, version, s.Servers)
}

// leader waits for a node that leads, as the others see it, too.
func (w *world) leader() *node {
	w.t.Helper()
	var leader *node
	w.until("leader", func() bool {
		leader = nil
		for _, n := range w.all() {
			if n.register.Status().Term != 0 {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// do waits for an order's end.
func (n *node) do(o cluster.Order) error {
	n.w.t.Helper()
	done := make(chan error, 1)
	n.register.Do(o, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		n.w.t.Fatalf("order %d has no end", o.Kind)
		return nil
	}
}

func (n *node) must(o cluster.Order) {
	n.w.t.Helper()
	if err := n.do(o); err != nil {
		n.w.t.Fatalf("order %d of %s: %v", o.Kind, n.name, err)
	}
}

const rows = 64

func founding(generation uint32) proto.Founding {
	return proto.Founding{Instance: proto.Instance{7}, Generation: generation}
}

// found founds with this node.
func (n *node) found(f proto.Founding) {
	n.w.t.Helper()
	n.must(foundOrder(f))
}

func foundOrder(f proto.Founding) cluster.Order {
	first := cluster.NewTable(cluster.Head{Instance: f.Instance, Version: uint64(f.Generation)<<32 | 1, Settings: plan.DefaultSettings()}, make([]cluster.Row, rows))
	return cluster.Order{Kind: cluster.OrderFound, Founding: f, Command: &cluster.Command{Found: first}}
}

// again carries an order out at whoever leads, until it is done: in real time a leader may have to
// step down because the machine is busy.
func (w *world) again(order func(leader *node) cluster.Order) {
	w.t.Helper()
	var err error
	for range 20 {
		leader := w.leader()
		if err = leader.do(order(leader)); err == nil {
			return
		}
	}
	w.t.Fatal(err)
}

// make changes a partition, at whoever leads.
func (w *world) make(p proto.Partition) {
	w.t.Helper()
	w.again(func(leader *node) cluster.Order { return leader.change(p) })
}

// join makes other nodes voters, by way of learners.
func (w *world) join(others ...*node) {
	w.t.Helper()
	for _, o := range others {
		voter := o.register.Status().Voter
		w.again(func(*node) cluster.Order { return cluster.Order{Kind: cluster.OrderAddLearner, Voter: voter} })
		w.until("learner that caught up", func() bool { return o.register.Status().Applied >= w.leader().register.Status().Applied })
		w.again(func(*node) cluster.Order { return cluster.Order{Kind: cluster.OrderPromote, Voter: voter} })
	}
}

// change is the order to raise the term of a partition, whose rows nobody else changes.
func (n *node) change(p proto.Partition) cluster.Order {
	s := n.register.Status()
	return n.changeIn(s.Term, p)
}

func (n *node) changeIn(term uint64, p proto.Partition) cluster.Order {
	t := n.register.Status().Table
	if t == nil {
		return cluster.Order{Kind: cluster.OrderPropose, Command: &cluster.Command{Term: term}}
	}
	row := t.Row(p)
	next := row.Term.In(t.Founding().Generation)
	return cluster.Order{Kind: cluster.OrderPropose, Command: &cluster.Command{Term: term, Changes: []plan.Change{{
		Partition: p, Replaces: row.Term, Row: cluster.Row{Owner: n.name, Term: next, Since: next},
	}}}}
}

// has reports whether the node's Table has a change of the partition.
func (n *node) has(p proto.Partition) bool {
	t := n.register.Status().Table
	return t != nil && t.Row(p).Owner != ""
}

// settled waits until all nodes hold what the leader holds.
func (w *world) settled() {
	w.t.Helper()
	w.until("agreement", w.agree)
}

func (w *world) agree() bool {
	all := w.all()
	for _, n := range all {
		a, b := all[0].register.Status(), n.register.Status()
		if a.Table == nil || a.Table.Mark() != b.Table.Mark() || a.Leader != b.Leader || a.Leader == "" {
			return false
		}
	}
	return true
}

// voters is so many voters, of which s1 leads.
func (w *world) voters(count int) []*node {
	w.t.Helper()
	var all []*node
	for i := range count {
		all = append(all, w.start(fmt.Sprintf("s%d", i+1), 1, ""))
	}
	all[0].found(founding(0))
	w.join(all[1:]...)
	w.settled()
	return all
}

// isolate cuts a node off from all others, or heals that.
func (w *world) isolate(n *node, off bool) {
	for i := 1; i < 9; i++ {
		other := fmt.Sprintf("10.0.0.%d", i)
		if other == n.ip {
			continue
		}
		if off {
			w.mem.Cut(n.ip, other)
			w.mem.Cut(other, n.ip)
		} else {
			w.mem.Heal(n.ip, other)
			w.mem.Heal(other, n.ip)
		}
	}
}

// streams counts the streams that a node has open, of both directions.
func (n *node) streams() int {
	s := n.register.now().life.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
