package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/cmd/internal/launch"
	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/cmd/roomring/page"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/internal/settings"
	"github.com/roomring/roomring/router"
)

type devCommand struct {
	Port     int    `name:"port" placeholder:"N" default:"8000" help:"Router 1 listens here, its admin on the next port, router 2 ten above."`
	LogLevel string `name:"log-level" placeholder:"LEVEL" default:"error" help:"debug, info, warn or error. Logs go to stderr."`
}

func (devCommand) Help() string {
	return `Everything is in memory and on loopback, and ends with Ctrl-C.
Open http://127.0.0.1:8000/ in two tabs to see two clients talk in a room.`
}

const (
	devRouters, devShards = 2, 3
	lastPort              = 65535

	// goodbyeTime leaves room in the 2 s within which Ctrl-C ends everything.
	goodbyeTime = 1500 * time.Millisecond
)

// devCluster is what roomring dev runs: nodes as if each had been started by hand.
type devCluster struct {
	routers, shards []*node.Node
}

// Run runs the cluster until Ctrl-C.
func (c *devCommand) Run(w *world) error {
	if c.Port < 1 || c.Port+11 > lastPort {
		return usage(fmt.Sprintf("--port: %d is out of bounds: want 1 to %d", c.Port, lastPort-11))
	}
	log, err := process.Logger(os.Stderr, &settings.Node{ID: "dev", LogLevel: c.LogLevel, LogFormat: "auto"})
	if err != nil {
		return usage("--log-level: " + err.Error())
	}
	defer log.Sync() // stderr: nothing to do about an error
	for _, port := range []int{c.Port, c.Port + 1, c.Port + 10, c.Port + 11} {
		if err := checkFree(port); err != nil {
			return err
		}
	}
	cluster, err := c.open(log)
	if err != nil {
		return err
	}
	return cluster.run(w.ctx, func() { cluster.banner(w.stdout) })
}

// open opens the ports of all nodes. The routers come first, so that no free port that another node is
// given can be one of theirs. What is open when something fails ends with the process.
func (c *devCommand) open(log *zap.Logger) (*devCluster, error) {
	d := &devCluster{}
	var seeds []string
	ports := []int{c.Port, c.Port + 10}
	for i, port := range ports {
		s, err := settings.LoadRouter(settings.Program{Name: name}, append(devArgs("r", i), "--listen", local(port), "--admin", local(port+1),
			"--allow-origin", strings.Join(page.Origins(ports...), ",")))
		if err != nil {
			return nil, err
		}
		s.Join, s.MemoryLimit = seeds, s.MemoryLimit/(devShards+devRouters)
		n, err := openDevRouter(s, page.Files(ports...), log.Named(s.ID))
		if err != nil {
			return nil, err
		}
		d.routers = append(d.routers, n)
		seeds = append(seeds, n.Addresses().Gossip)
	}
	for i := range devShards {
		s, err := settings.LoadShard(settings.Program{Name: name}, append(devArgs("s", i), "--admin", anyPort))
		if err != nil {
			return nil, err
		}
		s.Join, s.BootstrapExpect, s.MemoryLimit = seeds, devShards, s.MemoryLimit/(devShards+devRouters)
		n, _, err := launch.Shard(s, log.Named(s.ID))
		if err != nil {
			return nil, err
		}
		d.shards = append(d.shards, n)
	}
	return d, nil
}

func devArgs(letter string, i int) []string {
	return []string{"--id", fmt.Sprintf("%s%d", letter, i+1), "--cluster", "dev", "--link", anyPort, "--gossip", anyPort}
}

// openDevRouter opens a router that also serves the page, to browsers on this machine alone.
func openDevRouter(s *settings.Router, files []page.File, log *zap.Logger) (*node.Node, error) {
	common, err := launch.Common(&s.Node, log)
	if err != nil {
		return nil, err
	}
	config := launch.RouterConfig(s)
	config.LocalHost, config.DrainTime = true, -1
	config.Pages = map[string]router.Page{}
	for _, f := range files {
		config.Pages[f.Path] = router.Page{Type: f.Type, Body: f.Body, CSP: f.Policy}
	}
	return node.OpenRouter(common, s.Listen, config)
}

const anyPort = "127.0.0.1:0"

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// checkFree says in words when another program has the port.
func checkFree(port int) error {
	l, err := net.Listen("tcp4", local(port))
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "Only one usage") { // the latter is Windows
		return fmt.Errorf("port %d is in use by another program: stop it or use --port", port)
	}
	return fmt.Errorf("port %d cannot be opened: %w", port, err)
}

// run runs all nodes until ctx ends, and calls up when clients are served. Clients are told to go
// first; what has not ended after goodbyeTime ends without a word.
func (d *devCluster) run(ctx context.Context, up func()) error {
	g, running := errgroup.WithContext(context.WithoutCancel(ctx))
	running, end := context.WithCancel(running)
	defer end()
	var routers sync.WaitGroup
	for _, n := range d.routers {
		routers.Add(1)
		g.Go(func() error {
			defer routers.Done()
			return n.Run(running, ctx.Done())
		})
	}
	for _, n := range d.shards {
		g.Go(func() error { return n.Run(running, nil) })
	}
	g.Go(func() error {
		if waitReady(ctx, d.routers) {
			up()
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-running.Done():
		}
		time.AfterFunc(goodbyeTime, end)
		routers.Wait()
		end()
		return nil
	})
	return g.Wait()
}

// waitReady waits until every node says that it is ready. It returns false when ctx ended before.
func waitReady(ctx context.Context, nodes []*node.Node) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, n := range nodes {
		for !ready(ctx, n.Addresses().Admin) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

func ready(ctx context.Context, admin string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// banner tells where everything is.
func (d *devCluster) banner(w io.Writer) {
	fmt.Fprintf(w, "roomring dev: %s and %s are up\n\n", plural(len(d.routers), "router"), plural(len(d.shards), "shard"))
	first := d.routers[0].Addresses()
	fmt.Fprintf(w, "  try it    http://%s/   (in two tabs)\n", first.Listen)
	for i, n := range d.routers {
		fmt.Fprintf(w, "  router %d  ws://%s/ws?room=NAME   admin http://%s/v1/ring\n", i+1, n.Addresses().Listen, n.Addresses().Admin)
	}
	for i, n := range d.shards {
		fmt.Fprintf(w, "  shard %d   admin http://%s/v1/ring\n", i+1, n.Addresses().Admin)
	}
	fmt.Fprintf(w, "\n  roomring ring --node %s\n  roomring bench fanout --url 'ws://%s/ws?room={room}'\n\nCtrl-C ends it.\n", first.Admin, first.Listen)
}
