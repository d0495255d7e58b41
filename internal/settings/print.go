package settings

import (
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// print writes every setting as a line of YAML, with the source of its value as a comment. Without
// the hidden secrets the output is a --config file that has the same effect.
func (s *source) print(w io.Writer) {
	fmt.Fprintf(w, "# what takes effect for this %s\n", s.role)
	for _, group := range groupOrder {
		title := "\n# " + group + "\n" // not written for a group without settings, such as a shard's clients
		for _, flag := range s.flags {
			if flag.Group.Title != group || !inFile(flag.Name) {
				continue
			}
			line := flag.Name + ": " + yamlValue(flag.Target.Interface())
			fmt.Fprintf(w, "%s%-44s # %s\n", title, line, s.why(flag.Name))
			title = ""
		}
	}
}

// why words where a value came from.
func (s *source) why(name string) string {
	from := s.from[name]
	if from == "" {
		from = "default"
	}
	if reason := s.chosen[name]; reason != "" {
		from += ": " + reason
	}
	return from
}

func yamlValue(value any) string {
	switch v := value.(type) {
	case time.Duration:
		return short(v)
	case []string:
		// Not joined here: ::1 is a word on a line of its own, and none in a list.
		list := yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, word := range v {
			list.Content = append(list.Content, yamlText(word))
		}
		return marshal(&list)
	case string:
		return marshal(yamlText(v))
	case fmt.Stringer: // Bytes and Secret
		return yamlValue(v.String())
	}
	return marshal(value)
}

// yamlText is a text for one line.
func yamlText(text string) *yaml.Node {
	n := &yaml.Node{}
	if n.SetString(text); strings.Contains(text, "\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func marshal(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("settings: %v", err)) // texts and numbers always marshal
	}
	return strings.TrimSuffix(string(text), "\n")
}

// short writes a duration without the zeros: 5m, not 5m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
