package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cmd/internal/launch"
	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/cmd/roomring/demo"
	"github.com/roomring/roomring/cmd/roomring/page"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/internal/settings"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
)

type devCommand struct {
	Port     int    `name:"port" placeholder:"N" default:"8000" help:"Router 1 listens here, its admin on the next port, router 2 ten above."`
	Shards   int    `name:"shards" placeholder:"N" default:"3" help:"How many shards there are at first, 1 to 8."`
	LogLevel string `name:"log-level" placeholder:"LEVEL" default:"error" help:"debug, info, warn or error. Logs go to stderr."`
}

func (devCommand) Help() string {
	return `Everything is in memory and on loopback, and ends with Ctrl-C.
Open http://127.0.0.1:8000/ to chat in a room, to see the ring beside it, and to
kill, restart, add and drain shards while the page counts what is lost.`
}

const (
	devRouters = 2
	lastPort   = 65535
)

// devCluster is what roomring dev runs: nodes as if each had been started by hand, and what lets the page
// start and end them.
type devCluster struct {
	routers  []demo.Node
	nodes    *demo.Cluster
	control  *demo.Server
	controls net.Listener
}

// Run runs the cluster until Ctrl-C.
func (c *devCommand) Run(w *world) error {
	if c.Port < 1 || c.Port+11 > lastPort {
		return usage(fmt.Sprintf("--port: %d is out of bounds: want 1 to %d", c.Port, lastPort-11))
	}
	if c.Shards < 1 || c.Shards > demo.MaxShards {
		return usage(fmt.Sprintf("--shards: %d is out of bounds: want 1 to %d", c.Shards, demo.MaxShards))
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
	d, err := c.open(log)
	if err != nil {
		return err
	}
	return d.nodes.Run(w.ctx,
		func(ctx context.Context) error { return d.control.Run(ctx, d.controls) },
		func(ctx context.Context) error {
			if waitReady(ctx, d.routers) {
				d.banner(w.stdout, c.Shards)
			}
			return nil
		})
}

// open opens the ports of all nodes, and that which the page talks to. The routers come before the shards,
// so that no free port that another node is given can be one of theirs. What is open when something fails
// ends with the process.
func (c *devCommand) open(log *zap.Logger) (*devCluster, error) {
	ports := []int{c.Port, c.Port + 10}
	controls, err := openControl(append(ports, c.Port+1, c.Port+11))
	if err != nil {
		return nil, err
	}
	d := &devCluster{controls: controls}
	files := page.Files(controls.Addr().(*net.TCPAddr).Port, ports...)
	var seeds []string
	for i, port := range ports {
		s, err := settings.LoadRouter(settings.Program{Name: name}, append(devArgs(fmt.Sprintf("r%d", i+1)), "--listen", local(port), "--admin", local(port+1),
			"--allow-origin", strings.Join(page.Origins(ports...), ",")))
		if err != nil {
			return nil, err
		}
		s.Join = seeds
		n, err := openDevRouter(s, files, log.Named(s.ID))
		if err != nil {
			return nil, err
		}
		d.routers = append(d.routers, n)
		seeds = append(seeds, n.Addresses().Gossip)
	}
	d.nodes, err = demo.New(demo.Config{Routers: d.routers, Shards: c.Shards, Voters: d.voters, Logger: log,
		OpenShard: func(id proto.NodeID) (demo.Node, error) { return c.openShard(id, seeds, log) }})
	if err != nil {
		return nil, err
	}
	d.control = demo.NewServer(d.nodes, page.Origins(ports...))
	return d, nil
}

// openControl opens a free port that is none of those which the nodes will want.
func openControl(wanted []int) (net.Listener, error) {
	for {
		ln, err := net.Listen("tcp4", anyPort)
		if err != nil || !slices.Contains(wanted, ln.Addr().(*net.TCPAddr).Port) {
			return ln, err
		}
		defer ln.Close() // after the next one is open, so that it is another one
	}
}

func devArgs(id string) []string {
	return []string{"--id", id, "--cluster", "dev", "--link", anyPort, "--gossip", anyPort}
}

// devShare is each node's part of the memory, with as many shards as there may ever be.
const devShare = demo.MaxShards + devRouters

// openDevRouter opens a router that also serves the page, to browsers on this machine alone.
func openDevRouter(s *settings.Router, files []page.File, log *zap.Logger) (*node.Node, error) {
	s.MemoryLimit /= devShare
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

func (c *devCommand) openShard(id proto.NodeID, seeds []string, log *zap.Logger) (demo.Node, error) {
	s, err := settings.LoadShard(settings.Program{Name: name}, append(devArgs(string(id)), "--admin", anyPort))
	if err != nil {
		return nil, err
	}
	s.Join, s.BootstrapExpect = seeds, c.Shards
	s.MemoryLimit /= devShare
	n, _, err := launch.Shard(s, log.Named(s.ID))
	return n, err
}

// voters asks a router who votes about the Table.
func (d *devCluster) voters(ctx context.Context) ([]proto.NodeName, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.nodes.Admin()+"/v1/ring?table=0", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var ring struct {
		Voters []proto.NodeName `json:"voters"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&ring); err != nil {
		return nil, fmt.Errorf("read voters: %w", err)
	}
	return ring.Voters, nil
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

// waitReady waits until every node says that it is ready. It returns false when ctx ended before.
func waitReady(ctx context.Context, nodes []demo.Node) bool {
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

// banner tells where everything is, and what to try.
func (d *devCluster) banner(w io.Writer, shards int) {
	fmt.Fprintf(w, "roomring dev: %s and %s are up\n\n", plural(len(d.routers), "router"), plural(shards, "shard"))
	first := d.routers[0].Addresses()
	fmt.Fprintf(w, "  page      http://%s/   chat in two tabs; kill a shard and watch\n", first.Listen)
	for i, n := range d.routers {
		a := n.Addresses()
		fmt.Fprintf(w, "  router %d  ws://%s/ws?room=NAME   inspector http://%s/\n", i+1, a.Listen, a.Admin)
	}
	for _, s := range d.nodes.State().Shards {
		fmt.Fprintf(w, "  shard %s   inspector http://%s/\n", strings.TrimPrefix(string(s.ID), "s"), s.Admin)
	}
	fmt.Fprintf(w, "\n  roomring ring --node %s     and rooms, events, doctor\n", first.Admin)
	fmt.Fprintf(w, "  roomring bench fanout --url 'ws://%s/ws?room={room}'\n\nCtrl-C ends it.\n", first.Listen)
}
