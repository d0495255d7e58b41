package node_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// Every metric of ours says in its help text what it counts, what there is now
// is no counter, and nothing is left out because two have one name.
func TestMetricsExplainThemselves(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	s, err := node.OpenShard(node.Config{ID: "s1", Partitions: partitions, Logger: zap.New(core)}, shard.Config{Lanes: 1})
	start(t, s, err)
	r, err := node.OpenRouter(node.Config{ID: "r1", Partitions: partitions, Join: []string{s.Addresses().Gossip}, Logger: zap.New(core)}, "", router.Config{Lanes: 1})
	start(t, r, err)
	page := scrape(t, s) + scrape(t, r)
	for _, complaint := range logged.FilterMessage("admin server complained").All() {
		t.Error(complaint.ContextMap()["detail"])
	}
	seen := 0
	for line := range strings.Lines(page) {
		name, help, _ := strings.Cut(strings.TrimPrefix(line, "# HELP "), " ")
		if !strings.HasPrefix(line, "# HELP roomring_") {
			continue
		}
		seen++
		if strings.TrimSpace(help) == "" {
			t.Errorf("%s says nothing", name)
		}
	}
	if seen < 50 {
		t.Errorf("only %d metrics of ours", seen)
	}
	for _, gauge := range []string{"hub_rooms", "hub_members", "hub_waiting", "hub_lagging", "hub_tail_bytes", "hub_unacknowledged_bytes", "router_conns",
		"shard_owned_partitions", "shard_rooms", "shard_history_bytes", "shard_held_bytes", "link_open", "link_hellos", "loop_conns"} {
		if !strings.Contains(page, "# TYPE roomring_"+gauge+" gauge\n") {
			t.Errorf("there is no gauge roomring_%s", gauge)
		}
	}
}

func scrape(t *testing.T, n *node.Node) string {
	t.Helper()
	r, err := http.Get("http://" + n.Addresses().Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", r.Status, err)
	}
	return string(body)
}
