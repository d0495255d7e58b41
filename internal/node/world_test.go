package node_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// world is a cluster of whole nodes in a bubble: real goroutines, a network in
// memory, and time that passes when everybody waits.
type world struct {
	t         *testing.T
	net       *memnet.Network
	directory *cluster.Directory
	running   map[string]*running
	routers   int
	shards    int
	log       []zap.Option       // for the loggers of nodes started from now on
	config    func(*node.Config) // changes what nodes are started with from now on; may be nil

	// apart says that nodes of different groups do not hear each other's gossip. A node whose id has
	// no group is in the group "". Set groups before the nodes start.
	apart  atomic.Bool
	groups map[string]string

	mu      sync.Mutex
	started []*running // all runs, in order
}

// running is a node that runs.
type running struct {
	*node.Node
	ip    string
	drain chan struct{}
	stop  context.CancelFunc
	again func() *running // starts the next run of the node, at the same addresses
	ended chan struct{}   // closed when Run has returned err
	err   error

	killed atomic.Bool // it says nothing when it goes
	late   bool        // its drain is meant to fail
}

// partitions of the tests: a Table for as many as in production costs more than
// all else here.
const partitions = 32

// inWorld runs a test in a world. When it ends every node has been stopped; a
// goroutine that stays behind fails the test.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	inWorldAgain(t, f)
}

// inWorldAgain is inWorld for one of several worlds of a test.
func inWorldAgain(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, &world{t: t, net: memnet.New(), directory: cluster.NewDirectory(), running: map[string]*running{}, groups: map[string]string{}})
	})
}

// cluster starts shards s1, s2, ... and routers r1, r2, ...
func (w *world) cluster(shards, routers int) {
	w.t.Helper()
	for i := range shards {
		w.shard(fmt.Sprint("s", i+1), shards, shard.Config{})
	}
	for i := range routers {
		w.router(fmt.Sprint("r", i+1), router.Config{})
	}
}

func (w *world) shard(id string, expect int, sc shard.Config) *running {
	w.t.Helper()
	w.shards++
	sc.Portable, sc.Lanes = true, max(sc.Lanes, 2)
	return w.start(id, fmt.Sprintf("10.0.0.%d", w.shards), func(cfg node.Config) (*node.Node, error) {
		cfg.BootstrapExpect = expect
		return node.OpenShard(cfg, sc)
	})
}

func (w *world) router(id string, rc router.Config) *running {
	w.t.Helper()
	w.routers++
	rc.Portable, rc.Lanes = true, max(rc.Lanes, 2)
	ip := fmt.Sprintf("10.0.1.%d", w.routers)
	return w.start(id, ip, func(cfg node.Config) (*node.Node, error) {
		return node.OpenRouter(cfg, ip+":8000", rc)
	})
}

func (w *world) start(id, ip string, open func(node.Config) (*node.Node, error)) *running {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{ip: ip, drain: make(chan struct{}), stop: stop, ended: make(chan struct{})}
	r.again = func() *running { return w.start(id, ip, open) }
	cfg := node.Config{
		ID: proto.NodeID(id), Link: ip + ":7400", Partitions: partitions, MaxMoves: -1, // most tests are about something else
		Net: &node.Net{Listen: w.net.Listen, Dial: w.net.Host(ip).DialContext},
		Membership: func(self cluster.Node) cluster.Membership {
			return &gossip{w.directory.Join(self), w, self.Name, &r.killed}
		},
		Logger: zaptest.NewLogger(w.t, zaptest.WrapOptions(w.log...)).Named(id),
	}
	if w.config != nil {
		w.config(&cfg)
	}
	n, err := open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Node, w.running[id] = n, r
	w.mu.Lock()
	w.started = append(w.started, r)
	w.mu.Unlock()
	go func() {
		defer close(r.ended)
		r.err = n.Run(ctx, r.drain)
	}()
	w.t.Cleanup(func() {
		stop()
		if <-r.ended; r.err != nil && !r.late {
			w.t.Errorf("run %s: %v", id, r.err)
		}
	})
	return r
}

// gossip is a place in a Directory that says when it leaves, as gossip does.
type gossip struct {
	*cluster.Static
	world  *world
	name   proto.NodeName
	killed *atomic.Bool
}

func (g *gossip) Run(ctx context.Context) error {
	err := g.Static.Run(ctx)
	switch {
	case g.killed.Load():
	case g.draining():
		g.world.directory.Leave(g.name)
	default: // stopped at once: others see that it is gone, and have no word of it
		g.world.directory.Set(g.name, cluster.Dead)
	}
	return err
}

func (g *gossip) draining() bool {
	return slices.ContainsFunc(g.Static.Nodes(), func(n cluster.Node) bool {
		return n.Name == g.name && n.State == cluster.Draining
	})
}

// Nodes leaves out what is apart. A node never hears that it is dead itself: gossip would object.
func (g *gossip) Nodes() []cluster.Node {
	w, nodes := g.world, g.Static.Nodes()
	group := func(name proto.NodeName) string { return w.groups[string(name.ID())] }
	nodes = slices.DeleteFunc(nodes, func(n cluster.Node) bool { return w.apart.Load() && group(n.Name) != group(g.name) })
	for i := range nodes {
		if nodes[i].Name == g.name && nodes[i].State == cluster.Dead {
			nodes[i].State = cluster.Alive
		}
	}
	return nodes
}

// living are the ids of the nodes that run.
func (w *world) living() (ids []string) {
	for id, r := range w.running {
		select {
		case <-r.ended:
		default:
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// others calls f with the address of every other node.
func (w *world) others(r *running, f func(ip string)) {
	for _, o := range w.running {
		if o != r {
			f(o.ip)
		}
	}
}

// cut makes the network between a node and all other nodes silent.
func (w *world) cut(id string) {
	r := w.running[id]
	w.others(r, func(ip string) {
		w.net.Cut(r.ip, ip)
		w.net.Cut(ip, r.ip)
	})
}

func (w *world) heal(id string) {
	r := w.running[id]
	w.others(r, func(ip string) {
		w.net.Heal(r.ip, ip)
		w.net.Heal(ip, r.ip)
	})
}

// kill ends nodes as SIGKILL does, at once: nobody hears a goodbye, connections are
// reset. Gossip's verdict comes a second later.
func (w *world) kill(ids ...string) {
	for _, id := range ids {
		r := w.running[id]
		r.killed.Store(true)
		w.cut(id)
		w.others(r, func(ip string) { w.net.Break(r.ip, ip) })
		r.stop()
	}
	for _, id := range ids {
		<-w.running[id].ended
		w.heal(id)
	}
	time.Sleep(time.Second)
	for _, id := range ids {
		w.directory.Set(w.running[id].Name(), cluster.Dead)
	}
}

// ask does a request at a node's admin port.
func (w *world) ask(id, method, path, body string) (status int, answer []byte) {
	w.t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return w.net.DialContext(ctx, addr) },
	}}
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.running[id].Addresses().Admin+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// room asks a node's admin port about a room; nil when it is not there.
func (w *world) room(id, name string) *admin.RoomDocument {
	w.t.Helper()
	status, body := w.ask(id, http.MethodGet, "/v1/room?room="+name, "")
	if status == http.StatusNotFound {
		return nil
	}
	doc := new(admin.RoomDocument)
	if err := json.Unmarshal(body, doc); err != nil || status != http.StatusOK {
		w.t.Fatalf("room %s: %d, %v", name, status, err)
	}
	return doc
}

// reasons are why a node is not ready, as its admin port says; none when it is.
func (w *world) reasons(id string) []string {
	w.t.Helper()
	var doc struct {
		Ready    bool
		Reasons  []string
		Messages map[string]string
	}
	status, body := w.ask(id, http.MethodGet, "/readyz", "")
	if err := json.Unmarshal(body, &doc); err != nil || doc.Ready != (status == http.StatusOK) || doc.Ready != (len(doc.Reasons) == 0) {
		w.t.Errorf("readyz of %s: %d %s, %v", id, status, body, err)
	}
	for _, r := range doc.Reasons {
		if doc.Messages[r] == "" {
			w.t.Errorf("readyz of %s does not explain %q", id, r)
		}
	}
	return doc.Reasons
}

// ring is a node's /v1/ring.
func (w *world) ring(id string) (doc cluster.RingDocument) {
	w.t.Helper()
	status, body := w.ask(id, http.MethodGet, "/v1/ring", "")
	if err := json.Unmarshal(body, &doc); err != nil || status != http.StatusOK {
		w.t.Fatalf("ring of %s: %d, %v", id, status, err)
	}
	return doc
}

// owner is the shard that owns a room.
func (w *world) owner(name string) string {
	w.t.Helper()
	doc := w.room("r1", name)
	if doc == nil {
		w.t.Fatalf("room %s is not there", name)
	}
	return string(doc.Owner)
}

// member is a client. Once it listens, a goroutine of its own reads all that
// comes, so that a test looks at it when everything has happened.
type member struct {
	*memnet.Conn
	t       *testing.T
	in      *bufio.Reader
	writing chan struct{} // holds a token while somebody writes; a bubble's time stands still for who waits for a mutex

	mute bool // does not answer pings; set before listen

	mu     sync.Mutex
	heard  []string
	pings  int
	pongs  int
	code   uint16 // of the close frame, 0 when there was none
	reason string
	over   time.Time // when the connection ended; zero while it lives
	err    error     // how
}

// clientIP is where clients connect from.
const clientIP = "10.0.2.1"

func (w *world) dialFrom(ip, id string) *member {
	w.t.Helper()
	c, err := w.net.Host(ip).DialContext(w.t.Context(), w.running[id].Addresses().Listen)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return &member{Conn: c.(*memnet.Conn), t: w.t, in: bufio.NewReader(c), writing: make(chan struct{}, 1)}
}

func (w *world) dial(id string) *member {
	w.t.Helper()
	return w.dialFrom(clientIP, id)
}

// open is a member that upgraded and does not read yet.
func (w *world) open(id, query string, changes ...string) *member {
	w.t.Helper()
	m := w.dial(id)
	m.send([]byte(rfc6455.Request("/ws?"+query, changes...)))
	if resp := m.response(); resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("open %s: %s", query, resp.Status)
	}
	return m
}

// join is a member that upgraded and listens.
func (w *world) join(id, query string, changes ...string) *member {
	w.t.Helper()
	m := w.open(id, query, changes...)
	go m.listen()
	synctest.Wait()
	return m
}

// request says something over HTTP and returns the answer.
func (w *world) request(ip, id, request string) (*http.Response, string) {
	w.t.Helper()
	m := w.dialFrom(ip, id)
	m.send([]byte(request))
	resp := m.response()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	m.Close()
	synctest.Wait()
	return resp, string(body)
}

func (m *member) response() *http.Response {
	m.t.Helper()
	m.SetReadDeadline(time.Now().Add(time.Minute))
	resp, err := http.ReadResponse(m.in, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.SetReadDeadline(time.Time{})
	return resp
}

func (m *member) send(b []byte) {
	m.t.Helper()
	if _, err := m.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

// Write writes all of b and nothing of others in between.
func (m *member) Write(b []byte) (int, error) {
	m.writing <- struct{}{}
	defer func() { <-m.writing }()
	return m.Conn.Write(b)
}

const (
	finText = 0x80 | byte(ws.OpText)
	finPong = 0x80 | byte(ws.OpPong)
)

// say sends messages and returns when everything has come of them that can
// without time.
func (m *member) say(texts ...string) {
	m.t.Helper()
	for _, text := range texts {
		m.send(rfc6455.Frame(finText, text))
	}
	synctest.Wait()
}

func (m *member) listen() {
	for {
		h, err := ws.ReadHeader(m.in)
		p := make([]byte, h.Length)
		if err == nil {
			_, err = io.ReadFull(m.in, p)
		}
		if err != nil {
			m.mu.Lock()
			m.over, m.err = time.Now(), err
			m.mu.Unlock()
			return
		}
		m.note(h.OpCode, p)
		switch {
		case h.OpCode == ws.OpPing && !m.mute:
			m.Write(rfc6455.Frame(finPong, string(p)))
		case h.OpCode == ws.OpClose:
			m.Write(rfc6455.Frame(0x80|byte(ws.OpClose), string(p)))
			m.CloseWrite()
		}
	}
}

func (m *member) note(op ws.OpCode, p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch op {
	case ws.OpText:
		m.heard = append(m.heard, string(p))
	case ws.OpBinary:
		m.heard = append(m.heard, fmt.Sprintf("%x", p))
	case ws.OpPing:
		m.pings++
	case ws.OpPong:
		m.pongs++
	case ws.OpClose:
		if len(p) >= 2 {
			m.code, m.reason = binary.BigEndian.Uint16(p), string(p[2:])
		}
	}
}

// take returns what was heard since the last time.
func (m *member) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.heard
	m.heard = nil
	return h
}

// hears checks what was heard since the last time.
func (m *member) hears(want ...string) {
	m.t.Helper()
	if got := m.take(); !slices.Equal(got, want) {
		m.t.Errorf("heard %q, want %q", got, want)
	}
}

// open reports whether the connection lives.
func (m *member) lives() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.over.IsZero()
}

// closed waits until the connection has ended, checks the close code (0: none)
// and returns when that was.
func (m *member) closed(code uint16, within time.Duration) time.Time {
	m.t.Helper()
	for end := time.Now().Add(within); m.lives() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over.IsZero():
		m.t.Errorf("still open after %v, want close %d", within, code)
	case m.code != code:
		m.t.Errorf("ended with close %d %q, %v, want %d", m.code, m.reason, m.err, code)
	case code != 0 && m.reason == "":
		m.t.Errorf("close %d has no reason", code)
	case code != 0 && !errors.Is(m.err, io.EOF):
		m.t.Errorf("after the close frame: %v, want the end", m.err)
	}
	return m.over
}

// epochOf is the epoch in a first line.
func epochOf(t *testing.T, line string) string {
	t.Helper()
	epoch, _, ok := strings.Cut(strings.TrimPrefix(line, "!"), ".")
	if !ok || len(epoch) != 13 || line[0] != '!' {
		t.Fatalf("first line %q", line)
	}
	return epoch
}

// numbers are first to last, each after a prefix.
func numbers(prefix string, first, last int) (list []string) {
	for i := first; i <= last; i++ {
		list = append(list, fmt.Sprint(prefix, i))
	}
	return list
}
