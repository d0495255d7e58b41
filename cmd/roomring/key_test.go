package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/settings"
)

func TestKey(t *testing.T) {
	first, _, code := command(t.Context(), "key")
	second, _, _ := command(t.Context(), "key")
	b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(first, "\n"))
	if code != process.Good || err != nil || len(b) != settings.KeySize || first == second {
		t.Errorf("keys %q and %q", first, second)
	}
	if _, err := settings.LoadShard(settings.Program{}, []string{"--cluster-key", strings.TrimSpace(first), "--admin-token", strings.TrimSpace(second)}); err != nil {
		t.Errorf("a node does not take it: %v", err)
	}
}

// TestKeyOut: a key once written stays, and what is no key is not taken for one.
func TestKeyOut(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "keys", "deep", "cluster.key"), filepath.Join(dir, "admin,token")
	out, errs, code := command(t.Context(), "key", "--out", first, "--out", second)
	if want := first + ": a new key\n" + second + ": a new key\n"; out != want || code != process.Good {
		t.Fatalf("code %d, %s%s\nwant %s", code, out, errs, want)
	}
	text := read(t, first)
	if text == read(t, second) {
		t.Error("both files hold the same key")
	}
	for path, want := range map[string]os.FileMode{first: 0o600, filepath.Dir(first): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want && runtime.GOOS != "windows" {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	if _, err := settings.LoadShard(settings.Program{}, []string{"--cluster-key-file", first}); err != nil {
		t.Errorf("a node does not take it: %v", err)
	}
	out, _, code = command(t.Context(), "key", "--out", first)
	if out != first+": kept, it holds a key\n" || code != process.Good || read(t, first) != text {
		t.Errorf("again: code %d, %s%s", code, out, read(t, first))
	}
	two := text + read(t, second) // as in a rotation
	write(t, first, two)
	if _, _, code = command(t.Context(), "key", "--out", first); code != process.Good || read(t, first) != two {
		t.Errorf("two keys: code %d, %s", code, read(t, first))
	}
	for _, bad := range []string{"", "not a key\n", text[:20]} {
		write(t, first, bad)
		_, errs, code = command(t.Context(), "key", "--out", first)
		if code != process.Failed || !strings.Contains(errs, first) || !strings.Contains(errs, "left as it is") || read(t, first) != bad {
			t.Errorf("%q: code %d, %s", bad, code, errs)
		}
	}
	if _, errs, code = command(t.Context(), "key", "--out", filepath.Join(second, "below a file")); code != process.Failed || errs == "" {
		t.Errorf("no such directory: code %d, %s", code, errs)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
