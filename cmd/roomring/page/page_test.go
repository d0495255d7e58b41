package page

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func fileNamed(t *testing.T, path string) File {
	t.Helper()
	for _, f := range Files(8123, 8000, 8010) {
		if f.Path == path {
			return f
		}
	}
	t.Fatalf("there is no %s", path)
	return File{}
}

func TestFilesFitTheirPolicy(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script>|javascript:`)
	scripted := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("style"`)
	for _, f := range Files(8123, 8000, 8010) {
		if strings.Contains(f.Policy, "unsafe") || strings.Contains(f.Policy, "*") || !strings.Contains(f.Policy, "default-src 'none'") {
			t.Errorf("%s: policy %s", f.Path, f.Policy)
		}
		if f.Type == "" || len(f.Body) == 0 {
			t.Errorf("%s: type %q, %d bytes", f.Path, f.Type, len(f.Body))
		}
		if strings.Contains(string(f.Body), "PORTS") || strings.Contains(string(f.Body), "CONTROL") {
			t.Errorf("%s: a placeholder is left", f.Path)
		}
		if found := inline.FindString(string(f.Body)); found != "" && f.Path == "/" {
			t.Errorf("the page has inline %q, which its policy refuses", found)
		}
		if found := scripted.FindString(string(f.Body)); found != "" {
			t.Errorf("%s has %q: what others say is set as text", f.Path, found)
		}
	}
}

// TestFilesAreServed holds that whatever one file asks for is another one, and that none is left over.
func TestFilesAreServed(t *testing.T) {
	references := regexp.MustCompile(`(?:\b(?:src|href)="([^"]*)"|\bfrom ["']\.(/[^"']+)["'])`)
	asked, served := map[string]bool{"/": true}, map[string]bool{}
	for _, f := range Files(8123, 8000, 8010) {
		served[f.Path] = true
		for _, m := range references.FindAllStringSubmatch(string(f.Body), -1) {
			asked[m[1]+m[2]] = true
		}
	}
	for path := range asked {
		if !strings.HasPrefix(path, "data:") && !served[path] {
			t.Errorf("the page asks for %s, which is not served", path)
		}
	}
	for path := range served {
		if !asked[path] {
			t.Errorf("nothing asks for %s", path)
		}
	}
}

func TestPageKnowsThePorts(t *testing.T) {
	f := fileNamed(t, "/")
	if html := string(f.Body); !strings.Contains(html, `content="8000 8010"`) || !strings.Contains(html, `content="8123"`) {
		t.Error("the page does not know the ports")
	}
	for _, place := range []string{"ws://127.0.0.1:8000", "ws://localhost:8010", "http://127.0.0.1:8123", "http://localhost:8123"} {
		if !strings.Contains(f.Policy+" ", " "+place) {
			t.Errorf("the policy does not allow %s: %s", place, f.Policy)
		}
	}
}

func TestOrigins(t *testing.T) {
	if got := strings.Join(Origins(1, 2), " "); got != "http://127.0.0.1:1 http://127.0.0.1:2 http://localhost:1 http://localhost:2" {
		t.Error(got)
	}
}

// TestScriptsParse finds what no test runs without a browser.
func TestScriptsParse(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	for _, f := range Files(8123, 8000, 8010) {
		if !strings.HasSuffix(f.Path, ".js") {
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
