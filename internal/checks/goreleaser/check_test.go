package goreleaser

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const root = "../../.."

// program is GoReleaser as go.mod has it, built once.
var program = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "goreleaser").Output()
	return strings.TrimSpace(string(out)), err
})

// goreleaser runs it in a directory.
func goreleaser(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// check returns what is wrong with a configuration, or that something is deprecated.
func check(t *testing.T, text string) (wrong string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "goreleaser.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := goreleaser(t, root, "check", file)
	if lower := strings.ToLower(said); err == nil && !strings.Contains(lower, "deprecat") && !strings.Contains(lower, "please") {
		return ""
	}
	return said
}

func config(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCheck(t *testing.T) {
	if wrong := check(t, config(t)); wrong != "" {
		t.Error(wrong)
	}
}

func TestBroken(t *testing.T) {
	for _, broken := range []struct{ name, old, broken string }{
		{"an unknown key", "mod_timestamp:", "mod_time:"},
		{"an old version of the file", "version: 2", "version: 1"},
		{"a value of another kind", "draft: true", "draft: [yes, no]"},
		{"a key that is deprecated", "formats: [tar.gz]", "format: tar.gz"},
		{"two builds of one name", "id: roomring-shard", "id: roomring-router"},
		{"a machine that there is not", "goarch: [amd64, arm64]", "goarch: [amd46]"},
		{"no YAML", "builds:", "builds"},
		{"something to sign that there is not", "artifacts: checksum\n", "artifacts: [checksum]\n"},
	} {
		t.Run(broken.name, func(t *testing.T) {
			text := config(t)
			if !strings.Contains(text, broken.old) {
				t.Fatalf("there is no %q", broken.old)
			}
			if check(t, strings.ReplaceAll(text, broken.old, broken.broken)) == "" {
				t.Error("it passes")
			}
		})
	}
}
