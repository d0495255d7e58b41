// Package chart checks the Helm chart: what it renders, and that what it renders runs.
//
// Rendered with several values, every document is decoded strictly into the types of Kubernetes, and what
// refers to something is held against what it refers to. There is no Kubernetes here, so -pods runs what
// the StatefulSet and the Deployment describe, as processes in network namespaces, with exactly their
// arguments, environment, files, probes and ends.
//
// Read render_test.go, object_test.go (what there is), refer_test.go (what fits to what), schema_test.go,
// broken_test.go, copy_test.go, and for -pods pod_test.go, kubelet_test.go and rollout_test.go.
package chart

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"

	"github.com/roomring/roomring/internal/checks"
)

const (
	chartDir = "deploy/helm/roomring"
	plainDir = "deploy/kubernetes"
)

// install is what helm install is told.
type install struct {
	dir             string // of the chart; if empty, the repository's
	name, namespace string // if empty, roomring and default
	values          map[string]any
	upgrade         bool
	objects         engine.ClientProvider // what lookup sees; nil: helm template, which sees nothing
}

// render returns the chart's documents by the name of their template.
func render(t testing.TB, in install) (map[string]string, error) {
	t.Helper()
	if in.dir == "" {
		in.dir = filepath.Join(checks.Root(t), chartDir)
	}
	chart, err := loader.LoadDir(in.dir)
	if err != nil {
		return nil, err
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = common.KubeVersion{Version: "v1.37.0", Major: "1", Minor: "37"}
	options := common.ReleaseOptions{Name: or(in.name, "roomring"), Namespace: or(in.namespace, "default"), IsInstall: !in.upgrade, IsUpgrade: in.upgrade, Revision: 1}
	values, err := util.ToRenderValues(chart, in.values, options, caps)
	if err != nil {
		return nil, err
	}
	if in.objects != nil {
		return engine.RenderWithClientProvider(chart, values, in.objects)
	}
	return engine.Engine{Strict: true}.Render(chart, values) // helm itself takes a value that is not there for nothing
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// documents takes what was rendered apart, in the order of the templates' names. Notes and what is empty are
// left out.
func documents(rendered map[string]string) (docs []string) {
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if base := path.Base(name); strings.HasPrefix(base, "_") || base == "NOTES.txt" {
			continue
		}
		for _, doc := range strings.Split("\n"+rendered[name], "\n---") {
			var content any
			if yaml.Unmarshal([]byte(doc), &content) != nil || content != nil {
				docs = append(docs, strings.TrimSpace(doc)+"\n")
			}
		}
	}
	return docs
}

// readValues reads a file of values.
func readValues(t testing.TB, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parseValues(t, string(text))
}

func parseValues(t testing.TB, text string) map[string]any {
	t.Helper()
	values, err := loader.LoadValues(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// examples are values that the chart is rendered with, by name.
func examples(t testing.TB) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{"default": {}}
	files, err := filepath.Glob(filepath.Join(checks.Root(t), chartDir, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of values: %v", err)
	}
	files = append(files, filepath.Join(checks.Root(t), plainDir, "values.yaml"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), "-values.yaml")
		all[strings.TrimSuffix(name, "values.yaml")+"ci"] = readValues(t, file)
	}
	return all
}

// TestRenders: whatever the values, what is rendered holds together.
func TestRenders(t *testing.T) {
	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) {
			for _, release := range []string{"roomring", "chat", "a", strings.Repeat("long.name-", 5) + "abc"} {
				if err := judge(t, install{name: release, namespace: "rooms", values: values}); err != nil {
					t.Errorf("release %s: %v", release, err)
				}
			}
		})
	}
}

// judge renders and returns everything that is wrong with it.
func judge(t testing.TB, in install) error {
	t.Helper()
	rendered, err := render(t, in)
	if err != nil {
		return err
	}
	objects, err := decode(documents(rendered))
	if err != nil {
		return err
	}
	return errors.Join(objects.check()...)
}

// TestLint is helm lint --strict, for each of the values.
func TestLint(t *testing.T) {
	for name, values := range examples(t) {
		if problems := lintChart(filepath.Join(checks.Root(t), chartDir), values); len(problems) > 0 {
			t.Errorf("%s: %q", name, problems)
		}
	}
}

func lintChart(dir string, values map[string]any) (problems []string) {
	linter := lint.RunAll(dir, values, "default", lint.WithKubeVersion(&common.KubeVersion{Version: "v1.37.0", Major: "1", Minor: "37"}))
	for _, m := range linter.Messages {
		if m.Severity > support.InfoSev {
			problems = append(problems, fmt.Sprint(m.Path, ": ", m.Err))
		}
	}
	return problems
}
