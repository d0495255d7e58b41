package workflows

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

const dir = ".github/workflows"

// root is the repository's.
func root(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../..") // a test runs in its package's directory
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// copied is where a copy of the workflows is.
func copied(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(filepath.Join(root(t), dir))); err != nil {
		t.Fatal(err)
	}
	return to
}

// replaced breaks a text. What breaks nothing shows nothing.
func replaced(t *testing.T, text, old, broken string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("there is no %q", old)
	}
	return strings.ReplaceAll(text, old, broken)
}

// lint returns what actionlint finds in the workflows of a directory.
func lint(t *testing.T, at string) (found []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(at, "*.yml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v %v", files, err)
	}
	// It finds shellcheck by itself, if that is installed.
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{WorkingDir: root(t)})
	if err != nil {
		t.Fatal(err)
	}
	project, err := actionlint.NewProject(root(t))
	if err != nil {
		t.Fatal(err)
	}
	errs, err := linter.LintFiles(files, project)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range errs {
		found = append(found, e.Error())
	}
	return append(found, missing(t, at, files)...)
}

func TestWorkflows(t *testing.T) {
	for _, wrong := range lint(t, copied(t)) {
		t.Error(wrong)
	}
}

func TestBroken(t *testing.T) {
	for _, broken := range []struct{ name, file, old, broken string }{
		{"an unknown key", "test.yml", "timeout-minutes:", "timeout:"},
		{"a job that there is not", "release.yml", "needs: test", "needs: tests"},
		{"an output that no step has", "release.yml", "steps.push.outputs", "steps.pushed.outputs"},
		{"a permission that there is not", "release.yml", "attestations: write", "attestation: write"},
		{"a machine that there is not", "test.yml", "macos-15", "macos-5"},
		{"an input that an action does not have", "test.yml", "node-version:", "version:"},
		{"a time that does not come", "vulnerabilities.yml", "17 3 * * *", "17 30 * * *"},
		{"an expression that is none", "vulnerabilities.yml", "matrix.language == 'go'", "matrix.language = 'go'"},
		{"something from outside in a script", "release.yml", `@$DIGEST"`, `@${{ github.head_ref }}"`},
		{"a make target that there is not", "test.yml", "run: go build ./...", "run: make buidl"},
		{"a package that there is not", "test.yml", "./shard/room/...", "./shard/rooms/..."},
		{"a script that there is not", "test.yml", "bash .ci/run", "bash .ci/gate"},
		{"a file that there is not", "release.yml", "deploy/image/Dockerfile", "deploy/docker/Dockerfile"},
		{"another compiler", "test.yml", "golang:1.26", "golang:1.25"},
		{"another compiler for the release", "release.yml", `go-version: "1.26`, `go-version: "1.25`},
		{"an action without a version", "release.yml", "docker/login-action@v4", "docker/login-action@master"},
		{"all permissions", "vulnerabilities.yml", "permissions:\n  contents: read\n", "\n"},
	} {
		t.Run(broken.name, func(t *testing.T) {
			at := copied(t)
			file := filepath.Join(at, broken.file)
			if err := os.WriteFile(file, []byte(replaced(t, read(t, file), broken.old, broken.broken)), 0o600); err != nil {
				t.Fatal(err)
			}
			if len(lint(t, at)) == 0 {
				t.Error("it passes")
			}
		})
	}
}

var (
	makes    = regexp.MustCompile(`\bmake ([a-z]+)`)
	targets  = regexp.MustCompile(`(?m)^([a-z]+):`)
	paths    = regexp.MustCompile(`(?:^|[\s"'=])((?:\./|\.ci/|deploy/|internal/|docs/|cmd/)[\w./-]*)`)
	compiler = regexp.MustCompile(`(?:\bgolang:|\bgo-version: ")([0-9.]+)`)
	uses     = regexp.MustCompile(`(?m)\buses: (\S+)$`)
	version  = regexp.MustCompile(`@(v[0-9]+(\.[0-9]+)*|[0-9a-f]{40})$`)
	granted  = regexp.MustCompile(`(?m)^permissions:`)
)

// missing lists what workflows name and the repository does not have.
func missing(t *testing.T, at string, files []string) (found []string) {
	t.Helper()
	root := root(t)
	var known []string
	for _, m := range targets.FindAllStringSubmatch(read(t, filepath.Join(root, "Makefile")), -1) {
		known = append(known, m[1])
	}
	released := compiler.FindStringSubmatch(read(t, filepath.Join(root, "deploy/image/Dockerfile")))[1]
	for _, file := range files {
		text := read(t, file)
		say := func(what string) { found = append(found, filepath.Base(file)+": "+what) }
		for _, m := range makes.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				say("no make target " + m[1])
			}
		}
		for _, m := range paths.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, strings.TrimSuffix(m[1], "..."))); err != nil {
				say(err.Error())
			}
		}
		for _, m := range compiler.FindAllStringSubmatch(text, -1) {
			if m[1] != released {
				say("Go " + m[1] + ", and the image is built by " + released)
			}
		}
		for _, m := range uses.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], "./") && !version.MatchString(m[1]) {
				say(m[1] + " may be anything tomorrow")
			}
		}
		if !granted.MatchString(text) {
			say("it has all permissions that the repository grants")
		}
	}
	return found
}
