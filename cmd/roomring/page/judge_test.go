package page

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestJudge runs the judge's own tests, in Node.
func TestJudge(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	dir := t.TempDir()
	tests, err := os.ReadFile(filepath.Join("testdata", "judge.test.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"judge.mjs": fileNamed(t, "/judge.js").Body, "judge.test.mjs": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil { // modules by their names
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "judge.test.mjs")
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
