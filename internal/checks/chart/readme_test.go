package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/roomring/roomring/internal/checks"
)

// TestChartReadme: its table is made of values.yaml, where every value has its reason above it.
func TestChartReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checks.Root(t), chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	table := "| value | default | meaning |\n| --- | --- | --- |\n" + rows(t, "", doc.Content[0])
	readme, err := os.ReadFile(filepath.Join(checks.Root(t), chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- values -->\n", "<!-- /values -->"
	before, rest, ok := strings.Cut(string(readme), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("the README has no place for the table")
	}
	made(t, chartDir+"/README.md", before+begin+table+end+after)
}

// rows are those of the values in a mapping. What is written in braces is one value.
func rows(t *testing.T, prefix string, m *yaml.Node) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0 {
			b.WriteString(rows(t, name+".", value))
			continue
		}
		meaning := strings.ReplaceAll(strings.TrimPrefix(lastParagraph(key.HeadComment), "# "), "\n# ", " ")
		if meaning == "" {
			t.Errorf("%s has no comment", name)
		}
		var content any
		if err := value.Decode(&content); err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", name, shown, strings.ReplaceAll(meaning, "|", "\\|"))
	}
	return b.String()
}

// lastParagraph leaves out what is said of the whole file.
func lastParagraph(comment string) string {
	return comment[strings.LastIndex("\n\n"+comment, "\n\n"):]
}
