package node_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/zap/zaptest"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// start runs a node until the test ends.
func start(t *testing.T, n *node.Node, err error) *node.Node {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run %s: %v", n.Name(), err)
		}
	})
	return n
}

// patience bounds every wait of the tests over real sockets; a test that passes never takes it.
const patience = time.Minute

// awaitReady waits until a node says that it is ready: who dials before may be told to come again.
func awaitReady(t *testing.T, n *node.Node) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); time.Since(began) < patience; <-again.C {
		r, err := http.Get("http://" + n.Addresses().Admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("%s is not ready within %v", n.Name(), patience)
}

func dial(t *testing.T, addr, query string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, br, _, err := ws.Dial(ctx, "ws://"+addr+"/ws?"+query)
	if err != nil {
		t.Fatal(err)
	}
	if br != nil {
		c = &buffered{c, io.MultiReader(io.LimitReader(br, int64(br.Buffered())), c)}
	}
	t.Cleanup(func() { c.Close() })
	return c
}

type buffered struct {
	net.Conn
	r io.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if err := wsutil.WriteClientText(c, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := wsutil.ReadServerText(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTwoRoutersTwoShards(t *testing.T) {
	log := zaptest.NewLogger(t)
	var seeds []string
	var shards []*node.Node
	for i := range 2 {
		n, err := node.OpenShard(node.Config{ID: proto.NodeID(fmt.Sprintf("s%d", i+1)), Join: seeds, BootstrapExpect: 2, Logger: log.Named(fmt.Sprintf("s%d", i+1))}, shard.Config{})
		shards = append(shards, start(t, n, err))
		seeds = append(seeds, n.Addresses().Gossip)
	}
	var routers []*node.Node
	for i := range 2 {
		n, err := node.OpenRouter(node.Config{ID: proto.NodeID(fmt.Sprintf("r%d", i+1)), Join: seeds, Logger: log.Named(fmt.Sprintf("r%d", i+1))}, "127.0.0.1:0", router.Config{})
		routers = append(routers, start(t, n, err))
	}
	for _, n := range routers {
		awaitReady(t, n)
	}
	a := dial(t, routers[0].Addresses().Listen, "room=lobby&num=1")
	b := dial(t, routers[1].Addresses().Listen, "room=lobby")
	other := dial(t, routers[1].Addresses().Listen, "room=other")
	if line := hear(t, a); !strings.HasPrefix(line, "!") || !strings.HasSuffix(line, ".0") {
		t.Errorf("first line %q", line)
	}
	for i := range 100 {
		say(t, a, fmt.Sprint("a", i))
		if got, want := hear(t, a), fmt.Sprintf("%d a%d", 2*i+1, i); got != want {
			t.Fatalf("a heard %q, want %q", got, want)
		}
		if got, want := hear(t, b), fmt.Sprint("a", i); got != want {
			t.Fatalf("b heard %q, want %q", got, want)
		}
		say(t, b, fmt.Sprint("b", i))
		hear(t, a)
		hear(t, b)
	}
	say(t, other, "alone")
	if got := hear(t, other); got != "alone" {
		t.Errorf("other heard %q", got)
	}
	r, err := http.Get("http://" + shards[0].Addresses().Admin + "/v1/room?room=lobby")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	for _, want := range []string{`"offset":200`, `"r1":`, `"r2":`} {
		if r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("the room at a shard: %d, no %s in %s", r.StatusCode, want, body)
		}
	}
}
