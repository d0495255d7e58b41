package roomring

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameFilesThatExist keeps the pages that lead a newcomer by the hand true.
func TestDocumentsNameFilesThatExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, page := range []string{"README.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		links := link.FindAllStringSubmatch(string(text), -1)
		if len(links) == 0 {
			t.Errorf("%s names no file", page)
		}
		for _, l := range links {
			if strings.Contains(l[1], "://") {
				continue
			}
			if _, err := os.Stat(l[1]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
