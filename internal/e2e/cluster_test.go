//go:build linux

package e2e

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// cluster is a number of nodes, each a process.
type cluster struct {
	t      *testing.T
	name   string
	key    string         // of the cluster, base64
	token  string         // of the admin ports
	ports  map[string]int // of gossip; the next one is that of links
	seeds  string
	expect int
	data   string // where nodes keep their votes; if empty, nowhere
	files  string // directory of the files "key" and "token", for key and token; if empty, they are flags
	nodes  map[string]*node
	listen map[string]string // where a router serves clients, by id; if missing, at any free port

	shardFlags, routerFlags []string // of every one that is started

	// moves is how many partitions move at a time. By default, more than a cluster with traffic should
	// have: then the thousands of empty ones that there are here cost a second and not ten.
	moves int
}

// node is a process with its addresses.
type node struct {
	*process
	id            string
	gossip, admin string
	listen, link  string
	token         string
}

// newCluster names nodes and fixes the ports at which others find them, so that any of them can be
// started first, and again at its own address.
func newCluster(t *testing.T, shards int, ids ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, name: "e2e-" + strings.ToLower(rand.Text()[:8]), key: newKey(), token: secret(rand.Text()),
		ports: map[string]int{}, expect: shards, nodes: map[string]*node{}, moves: 1024}
	c.house(ids...)
	return c
}

// house gives nodes new ports, and all nodes that start from now on these for seeds.
func (c *cluster) house(ids ...string) {
	var seeds []string
	for _, id := range ids {
		c.ports[id] = freePorts(c.t, 2, 0, 1)
		seeds = append(seeds, fmt.Sprintf("127.0.0.1:%d", c.ports[id]))
	}
	c.seeds = strings.Join(seeds, ",")
}

func newKey() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return secret(base64.StdEncoding.EncodeToString(b))
}

// nextPort runs through the ports below those that the system gives out by itself.
var nextPort atomic.Uint32

const firstPort, portSpan = 10_000, 20_000

// freePorts finds a port which is free for TCP and UDP and so are those that far above; nobody else is
// given one of these or of those between.
func freePorts(t *testing.T, span int, above ...int) int {
	t.Helper()
	nextPort.CompareAndSwap(0, uint32(os.Getpid())*97)
	for range portSpan {
		port := firstPort + (int(nextPort.Add(uint32(span)))-span)%portSpan
		free := true
		for _, d := range above {
			free = free && portFree(port+d)
		}
		if free {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func portFree(port int) bool {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp4", address)
	if err != nil {
		return false
	}
	u.Close()
	return true
}

// args are the flags of a node; more come last and win nothing: a flag may be given once.
func (c *cluster) args(id string, more ...string) []string {
	args := []string{"--id", id, "--cluster", c.name, "--admin", "127.0.0.1:0",
		"--gossip", fmt.Sprintf("127.0.0.1:%d", c.ports[id]), "--link", fmt.Sprintf("127.0.0.1:%d", c.ports[id]+1),
		"--join", c.seeds, "--log-format", "json", "--max-moves", strconv.Itoa(c.moves)}
	if c.files != "" {
		args = append(args, "--cluster-key-file", filepath.Join(c.files, "key"), "--admin-token-file", filepath.Join(c.files, "token"))
	} else {
		args = append(args, "--cluster-key", c.key, "--admin-token", c.token)
	}
	if c.data != "" {
		args = append(args, "--data-dir", filepath.Join(c.data, id))
	}
	if isRouter(id) {
		args = append(args, "--listen", cmp.Or(c.listen[id], "127.0.0.1:0"))
		args = append(args, c.routerFlags...)
	} else {
		args = append(args, "--bootstrap-expect", strconv.Itoa(c.expect))
		args = append(args, c.shardFlags...)
	}
	return append(args, more...)
}

// isRouter: ids start with r or s.
func isRouter(id string) bool { return id[0] == 'r' }

func program(id string) string {
	if isRouter(id) {
		return "roomring-router"
	}
	return "roomring-shard"
}

// start starts a node, the first time or again, and waits until its ports are open.
func (c *cluster) start(id string, more ...string) *node {
	c.t.Helper()
	p := start(c.t, program(id), c.args(id, more...)...)
	return c.add(id, p)
}

func (c *cluster) add(id string, p *process) *node {
	c.t.Helper()
	n := &node{process: p, id: id, token: c.token}
	p.name = id
	c.nodes[id] = n
	n.findPorts(c.t)
	return n
}

// findPorts reads the node's addresses from its log.
func (n *node) findPorts(t *testing.T) {
	t.Helper()
	n.waitOutput(t, n.log, "open ports", patience, func(text string) bool {
		for line := range strings.Lines(text) {
			var e entry
			if json.Unmarshal([]byte(line), &e) == nil && e.Message == "node up" {
				a := e.Addresses
				n.gossip, n.admin, n.listen, n.link = a.Gossip, a.Admin, a.Listen, a.Link
				return true
			}
		}
		return false
	})
}

// startAll starts the nodes in the order given, without waiting between them, and then waits until
// they are one ring.
func (c *cluster) startAll(ids ...string) {
	c.t.Helper()
	var started []*process
	for _, id := range ids {
		started = append(started, start(c.t, program(id), c.args(id)...))
	}
	for i, p := range started {
		c.add(ids[i], p)
	}
	c.waitOneRing(patience)
}

// ring is what we read of /v1/ring.
type ring struct {
	Cluster     string
	Instance    string
	Settled     bool
	SingleCopy  int `json:"single_copy"`
	Voters      []string
	Leader      string
	Fingerprint string
	Version     uint64
	Nodes       []ringNode
	Table       []ringRow
	text        string
}

type ringNode struct {
	ID, Incarnation, Role, State string
	Addresses                    struct{ Admin string }
	Owned, Following             int
}

type ringRow struct {
	Partition     int
	Owner, Wanted string
	Followers     []string
	Term          uint64
}

func (r ringRow) equal(o ringRow) bool {
	return r.Partition == o.Partition && r.Owner == o.Owner && r.Wanted == o.Wanted && r.Term == o.Term && slices.Equal(r.Followers, o.Followers)
}

// agrees says whether two nodes say the same of the cluster. Runs that are dead do not count: who came
// later never heard of them.
func (r *ring) agrees(o *ring) bool {
	return r.Instance == o.Instance && r.Version == o.Version && r.Fingerprint == o.Fingerprint && r.Leader == o.Leader &&
		slices.Equal(r.Voters, o.Voters) && slices.EqualFunc(r.Table, o.Table, ringRow.equal) && slices.Equal(r.alive(), o.alive())
}

// generation is how often the cluster was founded anew.
func (r *ring) generation() uint64 { return r.Version >> 32 }

// owned is how many partitions all runs of a node own.
func (r *ring) owned(id string) (sum int) {
	for _, n := range r.Nodes {
		if n.ID == id {
			sum += n.Owned
		}
	}
	return sum
}

// state is that of a node's liveliest run, "" when none is seen.
func (r *ring) state(id string) (state string) {
	for _, n := range r.Nodes {
		if n.ID == id && (state == "" || n.State == "alive") {
			state = n.State
		}
	}
	return state
}

// ask does a GET at the admin port.
func (n *node) ask(path string) (status int, body []byte, err error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return 0, nil, err
	}
	if n.token != "" {
		request.Header.Set("Authorization", "Bearer "+n.token)
	}
	answer, err := askClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	return answer.StatusCode, body, err
}

var askClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// ring is what the node knows of the cluster.
func (n *node) ring() (ring, error) { return n.readRing("/v1/ring") }

// summary is the ring without its rows, and quick.
func (n *node) summary() (ring, error) { return n.readRing("/v1/ring?table=0") }

func (n *node) readRing(path string) (r ring, err error) {
	status, body, err := n.ask(path)
	if err != nil {
		return r, err
	}
	if status != http.StatusOK {
		return r, fmt.Errorf("%s: status %d: %s", path, status, body)
	}
	r.text = string(body)
	return r, json.Unmarshal(body, &r)
}

func (n *node) ready() bool {
	status, _, err := n.ask("/readyz")
	return err == nil && status == http.StatusOK
}

// says reports whether a node is not ready for the reason.
func (n *node) says(reason string) bool {
	status, body, err := n.ask("/readyz")
	var doc struct{ Reasons []string }
	return err == nil && status != http.StatusOK && json.Unmarshal(body, &doc) == nil && slices.Contains(doc.Reasons, reason)
}

// partitions is how many there are.
const partitions = 4093

// whole says whether the ring has that many nodes, all alive, and every partition is where it should be.
func (r *ring) whole(nodes int) bool {
	if len(r.Table) != partitions || len(r.alive()) != nodes || r.Fingerprint == "" || !r.Settled {
		return false
	}
	for _, row := range r.Table {
		if row.Owner == "" || row.Owner != row.Wanted {
			return false
		}
	}
	return true
}

// astray counts the partitions that are not where the ring wants them.
func (r *ring) astray() (n int) {
	for _, row := range r.Table {
		if row.Owner != row.Wanted {
			n++
		}
	}
	return n
}

func (r *ring) alive() (list []string) {
	for _, n := range r.Nodes {
		if n.State == "alive" {
			list = append(list, n.ID)
		}
	}
	return list
}

// waitOneRing waits until all nodes that run say the same of each other, and are ready. It returns
// what they say.
func (c *cluster) waitOneRing(within time.Duration) (r ring) {
	c.t.Helper()
	why := ""
	defer func() {
		if c.t.Failed() {
			c.t.Log("not one ring: ", why)
		}
	}()
	running := c.running()
	eventually(c.t, "one ring", within, func() bool {
		for _, n := range running { // the rows cost a node some milliseconds: they are asked for in the end
			if got, err := n.summary(); err != nil || !got.Settled || len(got.alive()) != len(running) {
				why = fmt.Sprintf("%s: alive %v, settled %v, single copies %d, version %d, %v", n.id, got.alive(), got.Settled, got.SingleCopy, got.Version, err)
				return false
			}
		}
		for i, n := range running {
			got, err := n.ring()
			switch {
			case err != nil:
				why = n.id + ": " + err.Error()
				return false
			case !got.whole(len(running)):
				why = fmt.Sprintf("%s: settled %v, %d of %d rows are not where they should be, version %d", n.id, got.Settled, got.astray(), len(got.Table), got.Version)
				return false
			case i > 0 && !got.agrees(&r):
				why = fmt.Sprintf("%s (version %d, leader %q, voters %v) differs from %s (version %d, leader %q, voters %v)",
					n.id, got.Version, got.Leader, got.Voters, running[0].id, r.Version, r.Leader, r.Voters)
				return false
			case !n.ready():
				_, body, _ := n.ask("/readyz")
				why = fmt.Sprintf("%s is not ready: %s", n.id, body)
				return false
			}
			r = got
		}
		return true
	})
	return r
}

func (c *cluster) running() (list []*node) {
	for _, n := range c.nodes {
		if !n.ended() {
			list = append(list, n)
		}
	}
	return list
}

// owner is who owns a room's partition, as the admin port says.
func (n *node) owner(t *testing.T, room string) string {
	t.Helper()
	return n.room(t, room).Owner
}

// roomDocument is what we read of /v1/room.
type roomDocument struct {
	Partition int
	Owner     string
	Followers []string
	Epoch     string
	Offset    uint64
	Kept      int
}

// copies are the shards that have the room.
func (d *roomDocument) copies() []string {
	return slices.Sorted(slices.Values(append([]string{d.Owner}, d.Followers...)))
}

func (n *node) room(t *testing.T, room string) (doc roomDocument) {
	t.Helper()
	_, body, err := n.ask("/v1/room?room=" + room)
	if err == nil {
		err = json.Unmarshal(body, &doc)
	}
	if err != nil {
		t.Fatalf("/v1/room of %s at %s: %v", room, n.id, err)
	}
	return doc
}

// metrics reads /metrics: the sum of each metric over its labels.
func (n *node) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	status, body, err := n.ask("/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("/metrics of %s: %d %v", n.id, status, err)
	}
	values := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line[:at], "{")
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err == nil {
			values[name] += v
		}
	}
	return values
}

// shuffled is the list in the order of the run's seed.
func shuffled(t *testing.T, list ...string) []string {
	t.Helper()
	t.Logf("seed %d", *seed)
	r := mathrand.New(mathrand.NewPCG(*seed, uint64(len(t.Name()))))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
