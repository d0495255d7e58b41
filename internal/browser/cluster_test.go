package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds the wait for a node's ports.
const patience = 30 * time.Second

// cluster is real programs on loopback.
type cluster struct {
	dir   string // of the programs
	seeds string

	mu    sync.Mutex
	nodes map[string]*exec.Cmd // those that run
	ports map[string]string    // gossip addresses by id
}

// TestInspectorReal clicks through the inspector of a real cluster under
// traffic: while a shard joins, one is killed, and one drains.
func TestInspectorReal(t *testing.T) {
	if !*browse {
		t.Skip("no -browser: Chromium is not asked for (make browser)")
	}
	c := newCluster(t, "r1", "r2", "s1", "s2", "s3", "s4")
	var router addresses
	for _, id := range []string{"r1", "r2", "s1", "s2", "s3"} {
		a := c.start(t, id)
		if id == "r1" {
			router = a
		}
	}
	c.traffic(t, router.Listen)
	command := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch id := r.FormValue("id"); r.FormValue("do") {
		case "start":
			c.start(t, id)
		case "kill":
			c.kill(id)
		}
	}))
	t.Cleanup(command.Close)
	script(t, "real.mjs", place{"http://" + router.Admin, command.URL})
}

// newCluster builds the programs and finds a gossip port for each node to come:
// all are seeds.
func newCluster(t *testing.T, ids ...string) *cluster {
	c := &cluster{dir: t.TempDir(), nodes: map[string]*exec.Cmd{}, ports: map[string]string{}}
	build := exec.Command("go", "build", "-o", c.dir+string(filepath.Separator), "./cmd/...")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	var seeds []string
	for _, id := range ids {
		c.ports[id] = freeAddress(t)
		seeds = append(seeds, c.ports[id])
	}
	c.seeds = strings.Join(seeds, ",")
	t.Cleanup(func() {
		for _, id := range ids {
			c.kill(id)
		}
	})
	return c
}

// freeAddress is a loopback port that is free for TCP and UDP now. It lies below
// those that systems give out as free ones: nodes take many of these.
func freeAddress(t *testing.T) string {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		l, err := net.Listen("tcp4", address)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp4", address)
		l.Close()
		if err == nil {
			u.Close()
			return address
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// addresses is what a node logs of its ports.
type addresses struct{ Admin, Listen string }

// start starts a node and returns when its ports are open.
func (c *cluster) start(t *testing.T, id string) addresses {
	args := []string{"--id", id, "--cluster", "browser", "--admin", "127.0.0.1:0", "--link", "127.0.0.1:0", "--gossip", c.ports[id], "--join", c.seeds, "--log-format", "json"}
	program := "roomring-shard"
	if id[0] == 'r' {
		program, args = "roomring-router", append(args, "--listen", "127.0.0.1:0")
	}
	cmd := exec.Command(filepath.Join(c.dir, program), args...)
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Errorf("start %s: %v", id, err)
		return addresses{}
	}
	c.mu.Lock()
	c.nodes[id] = cmd
	c.mu.Unlock()
	up := make(chan addresses, 1)
	go awaitUp(log, up)
	select {
	case a := <-up:
		return a
	case <-time.After(patience):
		t.Errorf("%s opened no ports", id)
		return addresses{}
	}
}

// awaitUp reads a node's log to its end, and tells its addresses.
func awaitUp(log io.Reader, up chan<- addresses) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var e struct {
			Message   string    `json:"message"`
			Addresses addresses `json:"addresses"`
		}
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Message == "node up" {
			up <- e.Addresses
		}
	}
}

// kill ends a node at once, if it runs.
func (c *cluster) kill(id string) {
	c.mu.Lock()
	cmd := c.nodes[id]
	delete(c.nodes, id)
	c.mu.Unlock()
	if cmd != nil {
		cmd.Process.Kill() // it may have ended by itself
		cmd.Wait()
	}
}

// traffic has clients talk in rooms until the test ends.
func (c *cluster) traffic(t *testing.T, listen string) {
	cmd := exec.Command(filepath.Join(c.dir, "roomring"), "bench", "rooms", "--rooms", "40", "--rate", "400", "--for", "20m", "--url", fmt.Sprintf("ws://%s/ws?room={room}", listen))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // it was to run longer than the test
		cmd.Wait()
	})
}
