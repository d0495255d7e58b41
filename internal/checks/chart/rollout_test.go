//go:build linux

package chart

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/checks"
)

var pods = flag.Bool("pods", false, "run what the chart describes, as processes in network namespaces; needs root and iproute2")

const namespace = "roomring"

// inside says that this process is alone in its namespaces.
const inside = "ROOMRING_CHART_INSIDE"

// alone runs the test once more, in namespaces of its own, and reports whether this is that run.
func alone(t *testing.T) bool {
	t.Helper()
	if !*pods {
		t.Skip("-pods runs it: it needs root and takes minutes")
	}
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.Command(checks.Program(t, "unshare"), "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child",
		os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "6m", "-pods")
	cmd.Env = append(os.Environ(), inside+"="+programs(t))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // as it comes: it takes minutes
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return false
}

// running is the chart, installed on a machine.
type running struct {
	*machine
	o          *objects
	sets, deps workload
	shards     map[int]*pod
	routers    []*pod
	clients    *forward
	named      int // routers so far
}

// installed starts what the plain manifests describe, all at once, as Kubernetes would.
func installed(t *testing.T, network string) *running {
	t.Helper()
	root := checks.Root(t)
	text, err := os.ReadFile(filepath.Join(root, plainDir, "roomring.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(documents(map[string]string{"all": string(text)}))
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, os.Getenv(inside), netip.MustParsePrefix(network), documented(t))
	r := &running{machine: m, o: o, shards: map[int]*pod{}, sets: o.workloads()[0], deps: o.workloads()[1]}
	t.Cleanup(r.uninstall)
	m.resolve(t, o.Services)
	r.clients = m.forward(t, o.service("roomring-router"))
	for i := range int(*o.StatefulSets[0].Spec.Replicas) {
		r.startShard(i)
	}
	for range int(*o.Deployments[0].Spec.Replicas) {
		r.startRouter()
	}
	r.settle()
	return r
}

// documented makes the Secret as the README says.
func documented(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checks.Root(t), plainDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{}
	for _, literal := range regexp.MustCompile(`--from-literal=([a-z-]+)="\$\(([^)]+)\)"`).FindAllSubmatch(text, -1) {
		value, err := exec.Command("sh", "-c", string(literal[2])).Output()
		if err != nil {
			t.Fatal(err)
		}
		secrets[string(literal[1])] = []byte(strings.TrimSpace(string(value)))
	}
	if len(secrets) != 3 {
		t.Fatalf("%d keys in the README's command", len(secrets))
	}
	return secrets
}

func (r *running) startShard(ordinal int) *pod {
	p := r.create(fmt.Sprintf("%s-%d", r.sets.name, ordinal), r.sets)
	r.shards[ordinal] = p
	return p
}

func (r *running) startRouter() *pod {
	r.named++
	p := r.create(fmt.Sprintf("%s-7d9c5b8f6-%05d", r.deps.name, r.named), r.deps)
	r.routers = append(r.routers, p)
	return p
}

func (r *running) uninstall() {
	r.mu.Lock()
	left := append([]*pod(nil), r.pods...)
	r.mu.Unlock()
	for _, p := range left {
		process, ended := p.leave()
		process.Process.Kill()
		<-ended
		p.remove()
	}
	if r.t.Failed() {
		logs, _ := filepath.Glob(filepath.Join(r.dir, "*.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			lines := strings.Split(string(text), "\n")
			r.t.Logf("%s:\n%s", filepath.Base(name), strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	}
}

// until waits for something, with a deadline.
func (r *running) until(what string, within time.Duration, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(within); !ok(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			ring, _ := r.tool("ring", "--node", r.admin())
			r.t.Fatalf("%s: not within %s\n%s", what, within, ring)
		}
	}
}

// admin is the admin port of a router.
func (r *running) admin() string {
	return netip.AddrPortFrom(r.routers[len(r.routers)-1].ip, 8001).String()
}

// settle waits until all pods are ready and the cluster is settled.
func (r *running) settle() {
	r.t.Helper()
	began := time.Now()
	r.until("all pods are ready", time.Minute, func() bool {
		for _, p := range r.living() {
			if !p.available(0) {
				return false
			}
		}
		return true
	})
	r.until("the cluster is settled", time.Minute, func() bool { return r.ring().Settled })
	r.t.Logf("%d pods ready and settled after %.1f s", len(r.living()), time.Since(began).Seconds())
}

func (r *running) living() []*pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*pod(nil), r.pods...)
}

type ring struct {
	Settled  bool     `json:"settled"`
	Instance string   `json:"instance"`
	Voters   []string `json:"voters"`
	Nodes    []struct {
		ID, Incarnation, Role, State, Zone string
		Owned                              int
	} `json:"nodes"`
}

func (r *running) ring() (doc ring) {
	text, err := r.tool("ring", "--node", r.admin(), "--json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &doc)
	}
	if err != nil {
		return ring{}
	}
	return doc
}

// witness is roomring verify over the Service, while things happen.
type witness struct {
	r      *running
	events io.WriteCloser
	cmd    *exec.Cmd
	out    *strings.Builder
}

func (r *running) verify() *witness {
	r.t.Helper()
	j := &witness{r: r, out: &strings.Builder{}}
	url := "ws://" + netip.AddrPortFrom(r.address(), uint16(r.o.service("roomring-router").Spec.Ports[0].Port)).String() + "/ws"
	j.cmd = exec.Command(filepath.Join(r.programs, "roomring"), "verify", "--url", url, "--reconnect", "--for", "20m",
		"--rooms", "60", "--members", "4", "--rate", "800", "--no-progress", "--events", "-")
	j.cmd.Stdout, j.cmd.Stderr = j.out, j.out
	events, err := j.cmd.StdinPipe()
	if err == nil {
		err = j.cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	j.events = events
	r.t.Cleanup(func() { j.cmd.Process.Kill() })
	return j
}

// event names what begins now.
func (j *witness) event(format string, args ...any) {
	j.r.t.Logf(format, args...)
	fmt.Fprintf(j.events, format+"\n", args...)
}

// end stops sending and waits for the judgement.
func (j *witness) end() {
	j.r.t.Helper()
	j.cmd.Process.Signal(os.Interrupt)
	err := j.cmd.Wait()
	j.r.t.Logf("%s", j.out)
	if err != nil {
		j.r.t.Errorf("verify: %v", err)
	}
}

// updateShards is what a StatefulSet does: from the last to the first, one at a time, each ready for long
// enough before the next.
func (r *running) updateShards(j *witness) {
	r.t.Helper()
	for i := len(r.shards) - 1; i >= 0; i-- {
		j.event("shard %d replaced", i)
		old := r.shards[i]
		code, took := old.terminate()
		if code != 0 {
			r.t.Errorf("%s: exit code %d", old, code)
		}
		fresh := r.startShard(i)
		r.until(fresh.String()+" is available", 2*time.Minute, func() bool { return fresh.available(r.o.StatefulSets[0].Spec.MinReadySeconds) })
		r.t.Logf("%s ended after %.1f s, %s took its place", old, took.Seconds(), fresh)
	}
}

// updateRouters is what a Deployment does with a surge of one.
func (r *running) updateRouters(j *witness) {
	r.t.Helper()
	for _, old := range append([]*pod(nil), r.routers...) {
		j.event("%s replaced", old.name)
		fresh := r.startRouter()
		r.until(fresh.String()+" is available", 2*time.Minute, func() bool { return fresh.available(r.o.Deployments[0].Spec.MinReadySeconds) })
		code, took := old.terminate()
		if code != 0 {
			r.t.Errorf("%s: exit code %d", old, code)
		}
		r.routers = append(r.routers[:0:0], r.routers[1:]...)
		r.t.Logf("%s ended after %.1f s", old, took.Seconds())
	}
}

// TestRollout runs the plain manifests and does what operators do, while numbered messages go through the
// Service: a rolling update of shards, which come back with other addresses, and of routers; more shards,
// and fewer, two at once; a container that dies; a node that loses its power.
func TestRollout(t *testing.T) {
	if !alone(t) {
		return
	}
	r := installed(t, "10.88.0.0/24")
	first := r.ring()
	zones := map[string]bool{}
	for _, n := range first.Nodes {
		zones[n.Zone] = true
	}
	if len(zones) != 3 || zones[""] {
		t.Errorf("zones %v", zones)
	}
	j := r.verify()
	<-time.After(3 * time.Second)
	r.updateShards(j)
	r.updateRouters(j)
	if n := r.clients.refused(); n > 0 {
		t.Errorf("%d conns were sent to a router that takes none any more", n)
	}

	j.event("scaled to five shards")
	r.startShard(3)
	r.startShard(4)
	r.settle()
	j.event("scaled to three shards")
	r.scaleDown(3)
	r.settle()

	j.event("a container dies")
	r.shards[1].die()
	r.until("it is seen", 10*time.Second, func() bool { return !r.ring().Settled })
	r.settle()

	j.event("a node loses its power")
	r.shards[2].vanish()
	<-time.After(5 * time.Second) // the pod is taken away, and scheduled elsewhere
	r.startShard(2)
	r.settle()
	j.end()
	if now := r.ring(); now.Instance != first.Instance {
		t.Errorf("another cluster: %s, not %s", now.Instance, first.Instance)
	}
}

// scaleDown ends all shards beyond n at once, as a StatefulSet with parallel pods does.
func (r *running) scaleDown(n int) {
	r.t.Helper()
	var wg sync.WaitGroup
	for i, p := range r.shards {
		if i < n {
			continue
		}
		delete(r.shards, i)
		wg.Go(func() {
			code, took := p.terminate()
			r.t.Logf("%s ended after %.1f s", p, took.Seconds())
			if code != 0 {
				r.t.Errorf("%s: exit code %d", p, code)
			}
		})
	}
	wg.Wait()
}

// TestAllLost: every shard loses its power at once and comes back with another address. The cluster is the
// same one, by the votes on the volumes; who has a volume proves that the run before it is dead, so rooms
// begin anew, and nobody has to say anything.
func TestAllLost(t *testing.T) {
	if !alone(t) {
		return
	}
	r := installed(t, "10.88.0.0/24")
	before := r.ring()
	for i := range r.shards {
		r.shards[i].sever()
	}
	for i, p := range r.shards {
		p.vanish()
		r.startShard(i)
	}
	r.until("the cluster has a table again", time.Minute, func() bool { return len(r.ring().Voters) == 5 })
	r.settle()
	if now := r.ring(); now.Instance != before.Instance {
		t.Errorf("another cluster: %s, not %s", now.Instance, before.Instance)
	}
	j := r.verify()
	<-time.After(3 * time.Second)
	j.end()
}

// TestSixes runs the same manifests in a network that has no IPv4.
func TestSixes(t *testing.T) {
	if !alone(t) {
		return
	}
	r := installed(t, "fd88::/64")
	j := r.verify()
	<-time.After(2 * time.Second)
	j.event("shard 2 replaced")
	r.shards[2].terminate()
	r.startShard(2)
	r.settle()
	j.end()
}
