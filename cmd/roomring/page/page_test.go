package page

import (
	"regexp"
	"strings"
	"testing"
)

func TestFilesFitTheirPolicy(t *testing.T) {
	files := Files(8123, 8000, 8010)
	paths := map[string]bool{}
	for _, f := range files {
		paths[f.Path] = true
		if strings.Contains(f.Policy, "unsafe") || !strings.Contains(f.Policy, "default-src 'none'") {
			t.Errorf("%s: policy %s", f.Path, f.Policy)
		}
		if strings.Contains(string(f.Body), "PORTS") || strings.Contains(string(f.Body), "CONTROL") {
			t.Errorf("%s: a placeholder is left", f.Path)
		}
	}
	html := string(files[0].Body)
	if inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script>|javascript:`).FindString(html); inline != "" {
		t.Errorf("the page has inline %q, which its policy refuses", inline)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(m[1], "data:") && !paths[m[1]] {
			t.Errorf("the page asks for %s, which is not served", m[1])
		}
	}
	if !strings.Contains(html, `content="8000 8010"`) || !strings.Contains(html, `content="8123"`) {
		t.Error("the page does not know the ports")
	}
}

func TestOrigins(t *testing.T) {
	if got := strings.Join(Origins(1, 2), " "); got != "http://127.0.0.1:1 http://127.0.0.1:2 http://localhost:1 http://localhost:2" {
		t.Error(got)
	}
}
