package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestOwnBill: this test's own program is one of Go.
func TestOwnBill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bills := make([][]byte, 2)
	for i := range bills {
		out := filepath.Join(t.TempDir(), "bill")
		if err := run([]string{"-out", out, self, "v1.2.3"}); err != nil {
			t.Fatal(err)
		}
		if bills[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(bills[0], bills[1]) {
		t.Error("the same program gives another bill")
	}
	var d document
	if err := json.Unmarshal(bills[0], &d); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.Serial) {
		t.Errorf("serial number %s", d.Serial)
	}
	if c := d.Metadata.Component; c.PackageURL != "pkg:golang/github.com/roomring/roomring@v1.2.3" || len(c.Hashes) != 1 || len(c.Hashes[0].Content) != 64 {
		t.Errorf("%+v", c)
	}
	if c := d.Components[0]; c.PackageURL != "pkg:golang/std@"+strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("the library of Go is %+v", c)
	}
	if len(d.Dependencies) != 1 || len(d.Dependencies[0].DependsOn) != len(d.Components) {
		t.Errorf("%+v", d.Dependencies)
	}
}

func TestNoBill(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := text + ".json"
	for _, args := range [][]string{nil, {text, "v1"}, {"-out", out, text}, {"-out", out, text, "v1"}, {"-out", out, text + "s", "v1"}} {
		if err := run(args); err == nil {
			t.Errorf("%q: a bill of nothing", args)
		}
	}
}
