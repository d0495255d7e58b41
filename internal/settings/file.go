package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a settings file.
const maxFile = 1 << 20

// file is a parsed --config file: one text per flag name, as if it had been typed.
type file map[string]string

// readFile reads a YAML mapping of flag names to values. Keys outside known are errors that name the
// nearest known one; others tells which keys belong to the other kind of node.
func readFile(name string, known, others []string) (file, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", name, len(text), maxFile)
	}
	f, err := parseFile(text, known, others)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func parseFile(text []byte, known, others []string) (file, error) {
	var document, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return file{}, nil // only comments, or nothing
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return file{}, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want lines like \"log-level: info\"", root.Line)
	}
	f := file{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if err := f.set(key, value, known, others); err != nil {
			return nil, fmt.Errorf("line %d: %w", key.Line, err)
		}
	}
	return f, nil
}

func (f file) set(key, value *yaml.Node, known, others []string) error {
	name := key.Value
	if !slices.Contains(known, name) {
		return unknownKey(name, known, others)
	}
	if _, twice := f[name]; twice {
		return fmt.Errorf("%s: said twice", name)
	}
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return fmt.Errorf("%s: has no value: leave the line out for the default", name)
	case value.Kind == yaml.ScalarNode:
		f[name] = value.Value
	case value.Kind == yaml.SequenceNode:
		words := make([]string, len(value.Content))
		for i, word := range value.Content {
			if word.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s: want a value or a list of values", name)
			}
			words[i] = word.Value
		}
		f[name] = strings.Join(words, ",")
	default:
		return fmt.Errorf("%s: want a value or a list of values", name)
	}
	return nil
}

func unknownKey(name string, known, others []string) error {
	if slices.Contains(others, name) {
		return fmt.Errorf("%s: is a setting of the other kind of node", name)
	}
	if near := nearest(strings.ReplaceAll(strings.ToLower(name), "_", "-"), known); near != "" {
		return fmt.Errorf("unknown setting %q: did you mean %s?", name, near)
	}
	return fmt.Errorf("unknown setting %q: --help lists them all", name)
}

// nearest returns the word that is fewest edits away from name, or "" when none is near.
func nearest(name string, words []string) string {
	best, found := len(name)/3+2, ""
	for _, word := range words {
		if d := distance(name, word); d < best {
			best, found = d, word
		}
	}
	return found
}

// distance counts the single-byte insertions, deletions and changes that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
