package compose

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/checks"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checks.Root(t), "deploy/compose/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	yamlBlock  = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	serviceKey = regexp.MustCompile(`(?m)^  ([a-z]+-\d):$`)
)

// TestReadmeScales does what the page says: one shard and one router more.
func TestReadmeScales(t *testing.T) {
	deploy := checks.Copy(t, "deploy")
	at := func(name string) string { return filepath.Join(deploy, "compose", name) }
	ports := map[string]string{"shard-4": "7402", "router-3": "8001"}
	blocks := yamlBlock.FindAllStringSubmatch(readme(t), -1)
	if len(blocks) != len(ports) {
		t.Fatalf("%d blocks of YAML", len(blocks))
	}
	for _, block := range blocks {
		name := serviceKey.FindStringSubmatch(block[1])[1]
		checks.Broken(t, at("compose.yaml"), "\nservices:\n", "\nservices:\n"+block[1]+"\n")
		checks.Broken(t, at("compose.yaml"), "\nvolumes:\n", "\nvolumes:\n  "+name+": {}\n")
		checks.Broken(t, at("prometheus/prometheus.yaml"), "          - shard-1:7402\n", "          - shard-1:7402\n          - "+name+":"+ports[name]+"\n")
	}
	line := "        server router-2:8000 max_fails=0;\n"
	checks.Broken(t, at("nginx/nginx.conf"), line, line+strings.ReplaceAll(line, "router-2", "router-3"))
	if err := judgeFiles(t, deploy, plain...); err != nil {
		t.Error(err)
	}
	p, err := load(deploy, nil, plain...)
	if err != nil {
		t.Fatal(err)
	}
	if nodes := p.nodes(); len(nodes) != 7 || nodes["shard-4"] == "" || nodes["router-3"] == "" {
		t.Errorf("nodes %v", nodes)
	}
}

var (
	variable = regexp.MustCompile(`\$\{([A-Z_]+)[:}]`)
	setInEnv = regexp.MustCompile(`(?m)^    ([A-Z_]+)=`)
	command  = regexp.MustCompile("[ `]roomring ([a-z]+)")
)

// TestReadmeNames: the page names every variable but Grafana's port, and only commands that there are.
func TestReadmeNames(t *testing.T) {
	page := readme(t)
	text, err := os.ReadFile(filepath.Join(checks.Root(t), "deploy/compose/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, v := range variable.FindAllStringSubmatch(string(text), -1) {
		found[v[1]] = true
		if !strings.Contains(string(text), "#   "+v[1]+" ") {
			t.Errorf("compose.yaml does not say at its top what %s is", v[1])
		}
	}
	for _, v := range setInEnv.FindAllStringSubmatch(page, -1) {
		if !found[v[1]] {
			t.Errorf("%s means nothing to compose.yaml", v[1])
		}
	}
	rootDir = checks.Root(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, c := range command.FindAllStringSubmatch(page, -1) {
		if slices.Contains(asked, c[1]) {
			continue
		}
		asked = append(asked, c[1])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, filepath.Join(programDir, "roomring"), c[1], "--help").CombinedOutput(); err != nil {
			t.Errorf("roomring %s: %v: %s", c[1], err, out)
		}
	}
	if len(asked) < 5 {
		t.Errorf("only %v are found", asked)
	}
}
