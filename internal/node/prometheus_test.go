package node_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

var withPrometheus = flag.Bool("prometheus", false, "have promtool check rules, their tests and what nodes show, and a prometheus ask what the dashboard asks (make metrics)")

// rests are panels, by title and query, that have nothing to show unless a shard joins or drains.
var rests = []string{"Pauses of rooms, p99 over the last 5 minutes B"}

// What Prometheus itself says of rules, tests and metrics, and what it answers when it has watched a
// cluster with traffic that lost a shard: every query of the dashboard can be evaluated, and shows
// something. It needs promtool and prometheus.
func TestPrometheus(t *testing.T) {
	if !*withPrometheus {
		t.Skip("run by make metrics")
	}
	rules, err := filepath.Abs(grafana + "alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", rules)
	promtool(t, "", "test", "rules", strings.Replace(rules, "alerts.yaml", "alerts_test.yaml", 1))

	stack := openStack(t)
	for _, n := range stack.nodes {
		promtool(t, scrape(t, n), "check", "metrics")
	}
	p := startPrometheus(t, rules, stack.nodes)
	stack.talk(t)
	p.until(t, "the rules know rates", `job:roomring_deliveries:rate1m > 0`)
	p.until(t, "a minute is known", `count_over_time(roomring_settled{instance="`+stack.nodes[0].Addresses().Admin+`"}[2m]) > 30`)
	p.until(t, "settled", `min(roomring_settled) == 1`)
	if firing := p.ask(t, `ALERTS{alertstate="firing", severity!="info"}`); len(firing) > 0 {
		t.Errorf("alerts of a cluster that is well: %+v", firing)
	}
	stack.lose()
	p.until(t, "rooms stood still", `sum(roomring_hub_failover_pause_seconds_count) + sum(roomring_hub_move_pause_seconds_count) > 0`)
	p.until(t, "a fail-over or a hand-off is seen", `max(roomring_cluster_failovers_total) + max(roomring_cluster_handoffs_total) > 0`)

	d, asked := readDashboard(t), 0
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			query := strings.NewReplacer("$__rate_interval", "20s", "$job", "roomring", "$node", ".*", "$cluster", ".*").Replace(target.Expr)
			asked++
			if what := panel.Title + " " + target.RefID; slices.Contains(rests, what) {
				p.ask(t, query)
			} else {
				p.until(t, what+" shows something", query)
			}
		}
	}
	t.Logf("%d queries of %d panels", asked, len(d.Panels))
}

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args[:2], " "), err, out)
	}
}

// stack is a cluster in this process, over real sockets.
type stack struct {
	nodes  []*node.Node // shards first
	routes []*node.Node
	lose   func() // has the last shard vanish: it is stopped at once, and hands nothing over
}

func openStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{}
	var seeds []string
	for i := range 3 {
		n, err := node.OpenShard(node.Config{ID: proto.NodeID(fmt.Sprintf("s%d", i+1)), Partitions: 64, Join: seeds, BootstrapExpect: 3, Followers: 1, Cluster: "metrics"}, shard.Config{Lanes: 1, MemoryLimit: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		s.run(t, n, i == 2)
		seeds = append(seeds, n.Addresses().Gossip)
	}
	for i := range 2 {
		n, err := node.OpenRouter(node.Config{ID: proto.NodeID(fmt.Sprintf("r%d", i+1)), Partitions: 64, Join: seeds, Cluster: "metrics"}, "", router.Config{Lanes: 1, MemoryLimit: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		s.run(t, n, false)
		s.routes = append(s.routes, n)
	}
	for _, n := range s.nodes {
		awaitReady(t, n)
	}
	return s
}

// run runs a node until the test ends, or until lose, if it is the one to be lost.
func (s *stack) run(t *testing.T, n *node.Node, victim bool) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx, nil)
	}()
	end := func() {
		stop()
		<-done
	}
	t.Cleanup(end)
	if victim {
		s.lose = end
	}
	s.nodes = append(s.nodes, n)
}

// talk has members in 20 rooms say something, ten times a second each, until the test ends.
func (s *stack) talk(t *testing.T) {
	for i := range 40 {
		c := dial(t, s.routes[i%2].Addresses().Listen, fmt.Sprintf("room=room%d&num=1", i/2))
		go io.Copy(io.Discard, c)
		go func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if wsutil.WriteClientText(c, []byte("hello")) != nil {
					return
				}
			}
		}()
	}
}

// prometheus is one that watches the stack.
type prometheus struct{ url string }

func startPrometheus(t *testing.T, rules string, nodes []*node.Node) *prometheus {
	t.Helper()
	dir := t.TempDir()
	var targets []string
	for _, n := range nodes {
		targets = append(targets, strconv.Quote(n.Addresses().Admin))
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n- {job_name: roomring, static_configs: [{targets: [%s]}]}\n", rules, strings.Join(targets, ", "))
	file := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "config", file)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	cmd := exec.Command("prometheus", "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address, "--log.level", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	return &prometheus{"http://" + address + "/api/v1/query?query="}
}

// ask returns the values of a query that are numbers. Prometheus may not listen yet, which is no value.
func (p *prometheus) ask(t *testing.T, query string) (values []string) {
	t.Helper()
	r, err := http.Get(p.url + url.QueryEscape(query))
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || answer.Status != "success" && r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s: %v, %s", query, err, answer.Error)
	}
	for _, x := range answer.Data.Result {
		text, _ := x.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) {
			values = append(values, fmt.Sprint(x.Metric, " ", v))
		}
	}
	return values
}

// until waits until a query has a value.
func (p *prometheus) until(t *testing.T, what, query string) {
	t.Helper()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); time.Since(began) < patience; <-again.C {
		if len(p.ask(t, query)) > 0 {
			return
		}
	}
	t.Errorf("not within %v: %s (%s)", patience, what, query)
}
