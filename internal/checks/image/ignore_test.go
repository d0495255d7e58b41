package image

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/roomring/roomring/internal/checks"
)

// sources are the files of ours that the programs are built from, on the systems of the image.
func sources(t *testing.T) (list []string) {
	t.Helper()
	const format = `{{with .Module}}{{if .Main}}{{$d := $.Dir}}{{range $.GoFiles}}{{$d}}/{{.}}
{{end}}{{range $.SFiles}}{{$d}}/{{.}}
{{end}}{{range $.EmbedFiles}}{{$d}}/{{.}}
{{end}}{{end}}{{end}}`
	root := checks.Root(t)
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, "./cmd/roomring", "./cmd/roomring-router", "./cmd/roomring-shard")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if name := strings.TrimSpace(line); name != "" {
				relative, err := filepath.Rel(root, name)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, relative)
			}
		}
	}
	if len(list) < 200 {
		t.Fatalf("only %d files are found", len(list))
	}
	return list
}

// strangers are files that have no business in an image's build.
var strangers = []string{".git/config", "cluster.key", "deploy/compose/.env", "deploy/compose/compose.yaml", "bin/roomring", "README.md",
	"internal/checks/go.mod", "internal/browser/node_modules/ws/index.js", "cmd/roomring/main_test.go", "cmd/roomring/testdata/help.txt"}

// judgeIgnore holds a .dockerignore against what the build needs.
func judgeIgnore(name string, needed []string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return err
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return err
	}
	var broken []error
	for want, files := range map[bool][]string{false: needed, true: strangers} {
		for _, file := range files {
			ignored, err := matcher.MatchesOrParentMatches(file)
			if err != nil || ignored != want {
				broken = append(broken, fmt.Errorf("%s: left out: %t, %v", file, ignored, err))
			}
		}
	}
	return errors.Join(broken...)
}

func TestDockerignore(t *testing.T) {
	needed := append(sources(t), "go.mod", "go.sum", "deploy/image/rootfs.sh")
	name := filepath.Join(checks.Root(t), ".dockerignore")
	if err := judgeIgnore(name, needed); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ old, broken, want string }{
		{"!link\n", "", "link/mesh.go: left out: true"},
		{"!deploy/image/rootfs.sh\n", "", "rootfs.sh: left out: true"},
		{"\n*\n", "\n", ".git/config: left out: false"},
		{"**/*_test.go\n", "", "main_test.go: left out: false"},
		{"internal/checks\n", "", "internal/checks/go.mod: left out: false"},
		{"**/testdata\n", "**/[\n", "syntax error in pattern"},
	} {
		copied := filepath.Join(t.TempDir(), ".dockerignore")
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			t.Fatal(err)
		}
		checks.Broken(t, copied, test.old, test.broken)
		if err := judgeIgnore(copied, needed); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q for %q: %v\nwant %s", test.broken, test.old, err, test.want)
		}
	}
}
