package roomring

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/roomring/roomring/"

// allowed lists, for each of our packages, which others of ours it may import.
// The arrows are those of ARCHITECTURE.md; a package missing here fails the
// test, so that its place is decided and not found.
var allowed = map[string][]string{
	"proto":                 {},
	"cluster/plan":          {"proto"},
	"cluster":               {"proto", "cluster/plan", "internal/latency"},
	"internal/feed":         {"proto", "cluster", "cluster/plan", "admin"},
	"cluster/register":      {"proto", "cluster", "cluster/plan"},
	"internal/poll":         {},
	"internal/memnet":       {},
	"internal/rfc6455":      {},
	"internal/spare":        {},
	"internal/latency":      {},
	"link":                  {"proto", "internal/poll"},
	"router/websocket":      {"proto"},
	"router/hub":            {"proto", "internal/spare", "internal/latency"},
	"router":                {"proto", "internal/poll", "link", "router/hub", "router/websocket"},
	"shard/room":            {"proto", "internal/spare"},
	"shard/partition":       {"proto", "shard/room", "internal/spare", "internal/latency"},
	"shard":                 {"proto", "internal/poll", "link", "shard/partition"},
	"admin":                 {"proto", "internal/latency", "admin/inspector"},
	"admin/inspector":       {},
	"internal/loadgen":      {},
	"internal/openapi":      {},
	"internal/settings":     {"proto"},
	"internal/node":         {"proto", "cluster", "cluster/plan", "cluster/register", "link", "router", "router/hub", "shard", "shard/partition", "admin", "internal/poll", "internal/latency", "internal/feed"},
	"internal/sim":          {"proto", "cluster", "cluster/plan", "router/hub", "shard/room", "shard/partition", "internal/sim/gossip", "internal/sim/timeline"},
	"internal/sim/council":  {"proto", "cluster", "cluster/plan", "internal/sim/gossip", "internal/sim/timeline"},
	"internal/sim/gossip":   {"proto", "cluster", "internal/sim/timeline"},
	"internal/sim/timeline": {},
	"internal/e2e":          {},
	"internal/verify":       {"proto", "internal/loadgen"},
	"internal/browser":      {},
	"internal/chaos":        {},
	"internal/soak":         {},
	"internal/compare":      {},
	"internal/sizing":       {"internal/loadgen"},
	"internal/scale":        {"proto", "admin", "cluster", "cluster/plan", "link"},
	"internal/doctor":       {"admin", "cluster"},
	"internal/sbom":         {},

	// What the programs have in common is theirs alone.
	"cmd/internal/process": {"internal/settings"},
	"cmd/internal/launch":  {"proto", "internal/node", "internal/settings", "link", "router", "shard", "cmd/internal/process"},
	"cmd/roomring":         {"proto", "admin", "cluster", "cluster/plan", "internal/node", "internal/settings", "internal/loadgen", "internal/verify", "internal/doctor", "router", "cmd/roomring/page", "cmd/roomring/demo", "admin/inspector", "cmd/internal/process", "cmd/internal/launch"},
	"cmd/roomring/page":    {"admin/inspector"},
	"cmd/roomring/demo":    {"proto", "admin", "internal/node"},
	"cmd/roomring-router":  {"internal/node", "internal/settings", "cmd/internal/process", "cmd/internal/launch"},
	"cmd/roomring-shard":   {"internal/node", "internal/settings", "cmd/internal/process", "cmd/internal/launch"},
}

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no row in the table of arrows", name)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module)
			if ours && !slices.Contains(may, dep) {
				t.Errorf("%s imports %s, which the arrows do not allow", name, dep)
			}
		}
	}
}
