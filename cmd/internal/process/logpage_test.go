package process

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	saidInSource = regexp.MustCompile(`\b(?:log|Logger)\.(?:(?:Warn|Error)\(|warn\([^,]+, [^,]+, )"([^"]+)"`)
	saidOnPage   = regexp.MustCompile("`([^`]+)`")
)

// docs/logs.md has every warning and error that a node can log, and no line that none does.
func TestLogsPage(t *testing.T) {
	const root = "../../.."
	var source strings.Builder
	alarms := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// What is below cmd/roomring and internal/e2e and the like is no node.
		if name := d.Name(); d.IsDir() && (name == "node_modules" || name == ".git" || path == filepath.Join(root, "cmd", "roomring")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		for _, said := range saidInSource.FindAllStringSubmatch(string(text), -1) {
			alarms[said[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(root + "/docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(page), "## Lines to know")
	for alarm := range alarms {
		if !strings.Contains(lines, "`"+alarm+"`") {
			t.Errorf("%q is not on the page", alarm)
		}
	}
	told := 0
	for line := range strings.Lines(lines) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, said := range saidOnPage.FindAllStringSubmatch(cells[1], -1) {
			told++
			if !strings.Contains(source.String(), `"`+said[1]+`"`) {
				t.Errorf("no node says %q", said[1])
			}
		}
	}
	if len(alarms) < 30 || told < 40 {
		t.Errorf("only %d warnings and errors found, %d lines on the page", len(alarms), told)
	}
}
