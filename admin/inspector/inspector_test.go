package inspector

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// budget bounds the page in bytes, all files together, as they are sent.
const budget = 150 << 10

func TestFilesFitBudget(t *testing.T) {
	total := 0
	for _, f := range Files() {
		total += len(f.Body)
		if f.Type == "" || len(f.Body) == 0 {
			t.Errorf("%s: type %q, %d bytes", f.Path, f.Type, len(f.Body))
		}
	}
	t.Logf("%d bytes in all", total)
	if total >= budget {
		t.Errorf("the page has %d bytes, want less than %d", total, budget)
	}
}

// TestFilesFitPolicy holds that a browser that obeys Policy refuses nothing.
func TestFilesFitPolicy(t *testing.T) {
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(Policy, directive) {
			t.Errorf("policy %s lacks %s", Policy, directive)
		}
	}
	if strings.Contains(Policy, "unsafe") || strings.Contains(Policy, "*") {
		t.Errorf("policy %s lets too much in", Policy)
	}
	inline := regexp.MustCompile(`(?i)<style|\sstyle\s*=|\son[a-z]+\s*=\s*["']|<script(?:\s+type="module")?\s*>|javascript:`)
	scripted := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('style'|\.onclick|setTimeout\(['"]`)
	for _, f := range Files() {
		if found := inline.Find(f.Body); found != nil && strings.Contains(f.Type, "html") {
			t.Errorf("%s has inline %q", f.Path, found)
		}
		if found := scripted.Find(f.Body); found != nil {
			t.Errorf("%s has %q: names of rooms are hostile, text is set as text", f.Path, found)
		}
	}
}

func TestFilesAskOnlyTheirPort(t *testing.T) {
	outside := regexp.MustCompile(`(?i)(?:https?:|wss?:)?//[a-z0-9.-]+[^\s"'` + "`" + `]*`)
	for _, f := range Files() {
		body := f.Body
		if strings.Contains(f.Type, "javascript") {
			body = regexp.MustCompile(`(?m)(?:^|\s)//.*$`).ReplaceAll(body, nil) // comments
		}
		for _, found := range outside.FindAll(body, -1) {
			if string(found) != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names another place: %s", f.Path, found)
			}
		}
	}
}

// TestFilesAreServed holds that whatever one file asks for is another one, and
// that none is left over.
func TestFilesAreServed(t *testing.T) {
	asked := map[string]bool{"/": true}
	references := regexp.MustCompile(`(?:\b(?:src|href)="(/[^"#]*)"|\bfrom '\.(/[^']+)'|\bimport '\.(/[^']+)')`)
	paths := map[string]bool{}
	for _, f := range Files() {
		paths[f.Path] = true
		for _, m := range references.FindAllSubmatch(f.Body, -1) {
			asked[string(bytes.Join(m[1:], nil))] = true
		}
	}
	for p := range asked {
		if !paths[p] {
			t.Errorf("the page asks for %s, which is not served", p)
		}
	}
	for p := range paths {
		if !asked[p] {
			t.Errorf("nothing asks for %s", p)
		}
	}
}

func TestScriptsParse(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: scripts are not parsed")
	}
	for _, f := range Files() {
		if !strings.Contains(f.Type, "javascript") {
			continue
		}
		at := filepath.Join(t.TempDir(), "module.mjs") // parsed as a module for its name
		if err := os.WriteFile(at, f.Body, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(node, "--check", at).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", f.Path, err, out)
		}
	}
}
