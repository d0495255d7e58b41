package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Check says how a value, as encoding/json makes it of an answer, differs from a
// schema. nil is no difference.
func (d *Document) Check(value, schema any) error { return d.check("", value, schema) }

// CheckJSON is Check of a text.
func (d *Document) CheckJSON(text []byte, schema any) error {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	return d.Check(value, schema)
}

// checkKeywords refuses keywords that nobody checks, in a schema and those
// within it.
func checkKeywords(at string, schema any) error {
	s := object(schema)
	if s == nil {
		return nil
	}
	for key := range s {
		if !slices.Contains(keywords, key) && key != "$ref" {
			return fmt.Errorf("%s says %s, which is not known here", at, key)
		}
	}
	inner := maps.Clone(object(s["properties"]))
	if inner == nil {
		inner = map[string]any{}
	}
	inner["[]"], inner["*"] = s["items"], s["additionalProperties"]
	for name, v := range inner {
		if err := checkKeywords(at+"."+name, v); err != nil {
			return err
		}
	}
	return nil
}

// keywords are those of a schema that are checked, or that check nothing.
var keywords = []string{"type", "enum", "required", "properties", "additionalProperties", "items", "minItems", "maxItems",
	"minLength", "maxLength", "minimum", "maximum", "pattern", "default", "description", "format", "contentEncoding"}

func (d *Document) check(at string, value, schema any) error {
	s := object(d.resolve(schema))
	if s == nil {
		return fmt.Errorf("%s: there is no schema", at)
	}
	if have := kind(value); have != s["type"] && !(have == "integer" && s["type"] == "number") {
		return fmt.Errorf("%s: it is of type %s, want %v", at, have, s["type"])
	}
	if enum := array(s["enum"]); enum != nil && !slices.Contains(enum, value) {
		return fmt.Errorf("%s: %v is none of %v", at, value, enum)
	}
	switch v := value.(type) {
	case map[string]any:
		return d.checkObject(at, v, s)
	case []any:
		return d.checkArray(at, v, s)
	case string:
		return checkText(at, v, s)
	case float64:
		return checkNumber(at, v, s)
	}
	return nil
}

// kind is the type of a value in the words of JSON Schema.
func kind(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return "null"
}

// checkObject also refuses properties that are in no list: of an answer of this
// build everything is known.
func (d *Document) checkObject(at string, value, s map[string]any) error {
	for _, name := range array(s["required"]) {
		if _, ok := value[text(name)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(value)) {
		schema, ok := object(s["properties"])[name]
		if !ok {
			schema, ok = s["additionalProperties"].(map[string]any)
		}
		if !ok {
			return fmt.Errorf("%s: %s is in no list", at, name)
		}
		if err := d.check(at+"."+name, value[name], schema); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) checkArray(at string, value []any, s map[string]any) error {
	if least, ok := s["minItems"].(int); ok && len(value) < least {
		return fmt.Errorf("%s: %d items, want %d or more", at, len(value), least)
	}
	if most, ok := s["maxItems"].(int); ok && len(value) > most {
		return fmt.Errorf("%s: %d items, want %d or fewer", at, len(value), most)
	}
	for i, v := range value {
		if err := d.check(at+"["+strconv.Itoa(i)+"]", v, s["items"]); err != nil {
			return err
		}
	}
	return nil
}

func checkText(at, value string, s map[string]any) error {
	n := utf8.RuneCountInString(value)
	if least, ok := s["minLength"].(int); ok && n < least {
		return fmt.Errorf("%s: %d characters, want %d or more", at, n, least)
	}
	if most, ok := s["maxLength"].(int); ok && n > most {
		return fmt.Errorf("%s: %d characters, want %d or fewer", at, n, most)
	}
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(value) {
		return fmt.Errorf("%s: %q is not like %s", at, value, pattern)
	}
	return nil
}

func checkNumber(at string, value float64, s map[string]any) error {
	if least, ok := s["minimum"].(int); ok && value < float64(least) {
		return fmt.Errorf("%s: %v, want %d or more", at, value, least)
	}
	if most, ok := s["maximum"].(int); ok && value > float64(most) {
		return fmt.Errorf("%s: %v, want %d or less", at, value, most)
	}
	return nil
}
