package chart

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	release "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/roomring/roomring/internal/checks"
)

var update = flag.Bool("update", false, "write what is made of other files: the plain manifests, the chart's copies, its README's table")

// made says what a file must contain, because it is made of others.
func made(t *testing.T, file, want string) {
	t.Helper()
	name := filepath.Join(checks.Root(t), file)
	got, err := os.ReadFile(name)
	if string(got) == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not what it is made of (%v): make manifests", file, err)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPlainManifests: they are what helm template renders with the values beside them.
func TestPlainManifests(t *testing.T) {
	made(t, plainDir+"/roomring.yaml", template(t, install{namespace: "roomring", values: readValues(t, filepath.Join(checks.Root(t), plainDir, "values.yaml"))}))
}

// template is what helm template --skip-tests prints.
func template(t *testing.T, in install) string {
	t.Helper()
	rendered, err := render(t, in)
	if err != nil {
		t.Fatal(err)
	}
	delete(rendered, "roomring/templates/NOTES.txt")
	_, manifests, err := release.SortManifests(rendered, nil, release.InstallOrder)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range manifests {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	return strings.TrimSpace(b.String()) + "\n"
}

// TestPlainManifestsHoldNoKey: who applies them has keys of his own.
func TestPlainManifestsHoldNoKey(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checks.Root(t), plainDir, "roomring.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(documents(map[string]string{"all": string(text)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects.Secrets) > 0 {
		t.Error("there is a Secret in them")
	}
}

// TestChartCopies: a chart can only read files of its own.
func TestChartCopies(t *testing.T) {
	for _, name := range []string{"alerts.yaml", "dashboard.json"} {
		original, err := os.ReadFile(filepath.Join(checks.Root(t), "deploy/grafana", name))
		if err != nil {
			t.Fatal(err)
		}
		made(t, filepath.Join(chartDir, "files", name), string(original))
	}
}
