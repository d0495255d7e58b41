package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Conform lists how the schema of a name differs from what encoding/json makes
// of a Go type, both ways: properties, which of them are always there, and their
// types.
func (d *Document) Conform(name string, t reflect.Type) []string {
	c := conformer{d: d, seen: map[string]bool{}}
	c.compare(name, d.Schema(name), t)
	return c.differences
}

type conformer struct {
	d           *Document
	seen        map[string]bool // references that were followed
	differences []string
}

func (c *conformer) differ(at, format string, args ...any) {
	c.differences = append(c.differences, at+": "+fmt.Sprintf(format, args...))
}

func (c *conformer) compare(at string, schema any, t reflect.Type) {
	if ref, ok := object(schema)["$ref"].(string); ok {
		key := ref + " " + t.String()
		if c.seen[key] {
			return
		}
		c.seen[key] = true
	}
	s := object(c.d.resolve(schema))
	if s == nil {
		c.differ(at, "there is no schema for %s", t)
		return
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		return // whatever came, to be looked at later
	}
	want := typeOf(t)
	if s["type"] != want {
		c.differ(at, "type %v, but %s is %s", s["type"], t, want)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.compareFields(at, s, t)
	case reflect.Map:
		c.compare(at+".*", s["additionalProperties"], t.Elem())
	case reflect.Array:
		if s["minItems"] != t.Len() || s["maxItems"] != t.Len() {
			c.differ(at, "%v to %v items, but %s has %d", s["minItems"], s["maxItems"], t, t.Len())
		}
		c.compare(at+"[]", s["items"], t.Elem())
	case reflect.Slice:
		if want == "string" {
			if s["contentEncoding"] != "base64" {
				c.differ(at, "contentEncoding %v, but bytes are base64", s["contentEncoding"])
			}
			return
		}
		c.compare(at+"[]", s["items"], t.Elem())
	}
}

// typeOf is what encoding/json makes of a type.
func typeOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Array:
		return "array"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "string"
		}
		return "array"
	}
	if t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 {
		return "integer"
	}
	return "unknown"
}

func (c *conformer) compareFields(at string, s map[string]any, t reflect.Type) {
	fields, always := map[string]reflect.Type{}, map[string]bool{}
	jsonFields(t, fields, always)
	properties := object(s["properties"])
	for name, field := range fields {
		if properties[name] == nil {
			c.differ(at, "%s is not in it", name)
			continue
		}
		c.compare(at+"."+name, properties[name], field)
	}
	for name := range properties {
		if fields[name] == nil {
			c.differ(at, "%s is in it, but not in %s", name, t)
		}
	}
	// What a request needs is decided by its handler.
	if s["additionalProperties"] == false {
		return
	}
	required := map[string]bool{}
	for _, name := range array(s["required"]) {
		required[text(name)] = true
	}
	if !maps.Equal(required, always) {
		c.differ(at, "required are %v, but always there are %v", slices.Sorted(maps.Keys(required)), slices.Sorted(maps.Keys(always)))
	}
}

// jsonFields are the properties of a struct, those of embedded ones among them,
// and which are always there.
func jsonFields(t reflect.Type, fields map[string]reflect.Type, always map[string]bool) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			jsonFields(f.Type, fields, always)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
		delete(always, name) // of an embedded struct, which this one hides
		if !strings.Contains(options, "omit") {
			always[name] = true
		}
	}
}
