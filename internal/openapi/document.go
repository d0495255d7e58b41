// Package openapi reads docs/openapi.yaml for the tests that hold it against
// the handlers, the Go documents and live answers. It knows the part of OpenAPI
// 3.1 and of JSON Schema that the file uses, and refuses the rest: a keyword
// that nobody checks would promise what nobody keeps.
//
// Read document.go for the paths, schema.go for how a value is checked,
// conform.go for how a Go type is compared.
package openapi

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is the whole file.
type Document struct {
	root map[string]any
	// Paths has the operations of each path by their method, in capitals.
	Paths map[string]map[string]*Operation
}

// Operation is one method of one path.
type Operation struct {
	Parameters []Parameter
	// Body is the schema of the request's body, nil when it has none.
	Body any
	// Answers has what each status is answered with; 0 is any.
	Answers map[int]Answer
	// Tokens are the names of the security schemes of which one is needed; none
	// when it is open.
	Tokens []string
}

// Parameter is one of the query or the path.
type Parameter struct {
	Name     string
	InPath   bool
	Required bool
	Schema   map[string]any
}

// Answer is what one status is answered with, by its media type.
type Answer map[string]Content

// Content is an answer of one media type.
type Content struct {
	Schema any
	Events map[string]any // schemas of the data by the event's name, of a stream
}

// Read reads a file. An error is of the file's form, of a part that refers to
// nothing, or of one that nothing refers to.
func Read(file string) (*Document, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := &Document{Paths: map[string]map[string]*Operation{}}
	if err := yaml.Unmarshal(text, &d.root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := d.checkParts(d.root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for path, item := range object(d.root["paths"]) {
		d.Paths[path] = d.operations(object(item))
	}
	return d, nil
}

func (d *Document) operations(item map[string]any) map[string]*Operation {
	all := map[string]*Operation{}
	for method, v := range item {
		if method == "parameters" {
			continue
		}
		o := &Operation{Parameters: d.parameters(item["parameters"]), Answers: map[int]Answer{}, Tokens: d.tokens(object(v))}
		o.Parameters = append(o.Parameters, d.parameters(object(v)["parameters"])...)
		for _, c := range d.contents(object(v)["requestBody"]) {
			o.Body = c.Schema
		}
		for status, answer := range object(object(v)["responses"]) {
			n, _ := strconv.Atoi(status) // "default" is 0
			o.Answers[n] = d.contents(answer)
		}
		all[strings.ToUpper(method)] = o
	}
	return all
}

func (d *Document) parameters(list any) []Parameter {
	var all []Parameter
	for _, v := range array(list) {
		p := object(d.resolve(v))
		required, _ := p["required"].(bool)
		all = append(all, Parameter{Name: text(p["name"]), InPath: p["in"] == "path", Required: required, Schema: object(d.resolve(p["schema"]))})
	}
	return all
}

func (d *Document) contents(v any) Answer {
	all := Answer{}
	for media, c := range object(object(d.resolve(v))["content"]) {
		all[media] = Content{Schema: object(c)["schema"], Events: object(object(c)["x-events"])}
	}
	return all
}

// tokens is the security of an operation, or else of all.
func (d *Document) tokens(operation map[string]any) []string {
	security, own := operation["security"]
	if !own {
		security = d.root["security"]
	}
	var names []string
	for _, v := range array(security) {
		names = slices.AppendSeq(names, maps.Keys(object(v)))
	}
	slices.Sort(names)
	return names
}

// Schemas is the names of all schemas, sorted.
func (d *Document) Schemas() []string {
	return slices.Sorted(maps.Keys(object(object(d.root["components"])["schemas"])))
}

// Schema is the one of a name, nil when there is none.
func (d *Document) Schema(name string) any {
	return object(object(d.root["components"])["schemas"])[name]
}

// checkParts checks that all references lead somewhere, that all that could be
// referred to is, and that schemas say nothing that is not understood.
func (d *Document) checkParts(root any) error {
	used := map[string]bool{}
	var walk func(v any) error
	walk = func(v any) error {
		if schema, ok := object(v)["schema"]; ok {
			if err := checkKeywords("a schema", schema); err != nil {
				return err
			}
		}
		for _, child := range array(v) {
			if err := walk(child); err != nil {
				return err
			}
		}
		for key, child := range object(v) {
			if key == "$ref" {
				if used[text(child)] = true; d.resolve(v) == nil {
					return fmt.Errorf("%v refers to nothing", child)
				}
			}
			if err := walk(child); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(root); err != nil {
		return err
	}
	for _, kind := range []string{"schemas", "responses"} {
		for name := range object(object(d.root["components"])[kind]) {
			if path := "#/components/" + kind + "/" + name; !used[path] {
				return fmt.Errorf("nothing refers to %s", path)
			}
		}
	}
	for _, name := range d.Schemas() {
		if err := checkKeywords(name, d.Schema(name)); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows a reference within the file; what is none is its own.
func (d *Document) resolve(v any) any {
	path, ok := object(v)["$ref"].(string)
	if !ok {
		return v
	}
	at := any(d.root)
	for _, key := range strings.Split(strings.TrimPrefix(path, "#/"), "/") {
		at = object(at)[key]
	}
	if at == nil {
		return nil
	}
	return d.resolve(at)
}

// object, array and text are v, or nothing when it is of another kind.
func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func array(v any) []any           { a, _ := v.([]any); return a }
func text(v any) string           { s, _ := v.(string); return s }
