package roomring

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	linkTo    = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	codeSpan  = regexp.MustCompile("`[^`]*`")
	codeFence = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	codeBlock = regexp.MustCompile(`(?m)^    .*$`)
)

// TestLinks: every link in a document of this repository to something in it finds that, headings too.
func TestLinks(t *testing.T) {
	documents := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "node_modules", "dist", "bin", "testdata"}, d.Name()) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			documents++
			for _, wrong := range brokenLinks(t, path) {
				t.Error(wrong)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if documents < 15 {
		t.Errorf("only %d documents", documents)
	}
}

// TestBrokenLinks: one that leads nowhere is found.
func TestBrokenLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "other.md"), []byte("# The `other` one\n\n## Twice\n\n## Twice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, wrong := range map[string]int{
		"[a](other.md) [b](other.md#the-other-one) [c](https://example.com/x) [d](#here)\n\n# Here!\n": 0,
		"[a](other.md#twice) [b](other.md#twice-1)":                                                    0,
		"`[a](nowhere.md)`\n\n    [b](nowhere.md)\n\n```\n[c](nowhere.md)\n```\n":                      0,
		"[a](nowhere.md)": 1, "![a](nowhere.png)": 1, "[a](other.md#nowhere)": 1, "[a](#nowhere)": 1,
		"[a](other.md#twice-2)": 1, "[a](other.md \"title\") [b](no.md \"title\")": 1,
	} {
		page := filepath.Join(dir, "page.md")
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found := brokenLinks(t, page); len(found) != wrong {
			t.Errorf("%q: %q, want %d", text, found, wrong)
		}
	}
}

// brokenLinks lists the links of a document that lead to nothing here. Those that leave are not followed.
func brokenLinks(t *testing.T, page string) (broken []string) {
	t.Helper()
	for _, m := range linkTo.FindAllStringSubmatch(prose(t, page), -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		file, heading, _ := strings.Cut(m[1], "#")
		to := page
		if file != "" {
			to = filepath.Join(filepath.Dir(page), file)
		}
		if _, err := os.Stat(to); err != nil {
			broken = append(broken, page+": "+m[1]+": "+err.Error())
		} else if heading != "" && filepath.Ext(to) == ".md" && !slices.Contains(headings(t, to), heading) {
			broken = append(broken, page+": "+m[1]+": no such heading")
		}
	}
	return broken
}

// prose is a document without its code.
func prose(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(codeFence.ReplaceAllString(string(text), ""), ""), "")
}

// headings are the names by which GitHub's pages know a document's headings.
func headings(t *testing.T, page string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(codeFence.ReplaceAllString(string(text), "")) {
		title, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !is || line[0] != '#' {
			continue
		}
		name := anchor(title)
		if n := times[name]; n > 0 {
			names = append(names, name+"-"+strconv.Itoa(n))
		} else {
			names = append(names, name)
		}
		times[name]++
	}
	return names
}

func anchor(title string) string {
	title = linkText.ReplaceAllString(strings.TrimSpace(title), "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}
