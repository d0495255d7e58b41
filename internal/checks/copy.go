package checks

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var require = flag.Bool("require", false, "fail where a checker is not installed")

// Root is the repository's root, an absolute path.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the path of this file is not known")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Program finds a checker that is a program. If it is not installed the test is skipped, or with
// -require has failed.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name+" is not installed")
	}
	return path
}

// Missing skips a test for want of something, or with -require fails it.
func Missing(t testing.TB, what string) {
	t.Helper()
	if *require {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Copy copies a directory of the repository and returns where the copy is. It ends with the test.
func Copy(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(filepath.Join(Root(t), dir))); err != nil {
		t.Fatal(err)
	}
	return to
}

// Broken replaces every old in a copied file by broken. A file without old fails the test: a break that
// breaks nothing shows nothing.
func Broken(t testing.TB, file, old, broken string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s does not contain %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, broken)), 0o600); err != nil {
		t.Fatal(err)
	}
}
