package browser

import (
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
)

var (
	browse = flag.Bool("browser", false, "run the pages in Chromium")
	shots  = flag.String("shots", "", "a directory for pictures of the pages")
	serve  = flag.Duration("serve", 0, "serve scripted clusters for so long and print where, for work on the page")
	only   = flag.String("only", "", "run only those parts of a script whose name contains this")
)

// Tokens of the world that needs them.
const (
	fullToken = "full-token-of-a-test"
	readToken = "read-token-of-a-test"
)

// place is a world's admin port, and the port by which a script commands it.
type place struct {
	URL     string `json:"url"`
	Command string `json:"command"`
}

// open serves a world on free loopback ports until the test ends.
func open(t *testing.T, w *world, config admin.Config) place {
	t.Helper()
	config.Source = w
	s, err := admin.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Run(ctx, &gate{ln, w}) }()
	lived := make(chan struct{})
	go func() { w.live(ctx); close(lived) }()
	command := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := w.do(r.FormValue("do"), r.FormValue("id")); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(func() {
		stop()
		<-lived
		if err := <-served; err != nil {
			t.Error(err)
		}
		command.Close()
	})
	return place{"http://" + ln.Addr().String(), command.URL}
}

// gate closes conns of a world that is down, as a dead node's port would.
type gate struct {
	net.Listener
	world *world
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.world.mu.Lock()
		down := g.world.down
		g.world.mu.Unlock()
		if !down {
			return c, nil
		}
		c.Close()
	}
}

// worlds opens the clusters that the inspector is shown.
func worlds(t *testing.T) map[string]place {
	empty := newWorld(2, 1)
	if err := empty.do("unfounded", ""); err != nil {
		t.Fatal(err)
	}
	return map[string]place{
		"three":  open(t, newWorld(3, 2), admin.Config{}),
		"thirty": open(t, newWorld(30, 3), admin.Config{}),
		"one":    open(t, newWorld(1, 1), admin.Config{}),
		"empty":  open(t, empty, admin.Config{}),
		"long":   open(t, newNamedWorld("shard-of-the-production-cluster-in-the-north-of-europe-", 12, 1), admin.Config{}),
		"locked": open(t, newWorld(3, 2), admin.Config{Token: fullToken, ReadToken: readToken}),
	}
}

// TestInspectorScripted clicks through the inspector of scripted clusters.
func TestInspectorScripted(t *testing.T) {
	if *serve > 0 {
		for name, p := range worlds(t) {
			t.Logf("%-8s %s   command %s", name, p.URL, p.Command)
		}
		timer := time.NewTimer(*serve)
		<-timer.C
		return
	}
	script(t, "inspector.mjs", map[string]any{"worlds": worlds(t), "full": fullToken, "read": readToken})
}

// script runs a script of this folder with what it needs to know, and fails as
// it does.
func script(t *testing.T, name string, world any) {
	t.Helper()
	if !*browse {
		t.Skip("no -browser: Chromium is not asked for (make browser)")
	}
	know, err := json.Marshal(map[string]any{"world": world, "shots": shotsIn(t), "only": *only})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", name)
	cmd.Env = append(os.Environ(), "BROWSER_WORLD="+string(know), "BROWSER_PROFILE="+t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", name, out)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// shotsIn is the directory for pictures as a script can use it, "" for none.
func shotsIn(t *testing.T) string {
	if *shots == "" {
		return ""
	}
	dir, err := filepath.Abs(*shots)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
