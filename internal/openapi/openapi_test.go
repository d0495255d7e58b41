package openapi_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/openapi"
	"github.com/roomring/roomring/proto"
)

const file = "../../docs/openapi.yaml"

func read(t *testing.T, file string) *openapi.Document {
	t.Helper()
	d, err := openapi.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRingDocument: package admin hands the document of /v1/ring on and does not know it, so it is held
// against its schema here.
func TestRingDocument(t *testing.T) {
	d := read(t, file)
	for _, difference := range d.Conform("RingDocument", reflect.TypeFor[cluster.RingDocument]()) {
		t.Error(difference)
	}
	for name, typ := range map[string]reflect.Type{
		"RingDocumentNode": reflect.TypeFor[cluster.RingNode](), "RingDocumentRow": reflect.TypeFor[cluster.RingRow](),
		"RingDocumentMove": reflect.TypeFor[cluster.RingMove](), "RingDocumentAddresses": reflect.TypeFor[cluster.Addresses](),
	} {
		for _, difference := range d.Conform(name, typ) {
			t.Error(difference)
		}
	}
}

// ring is a node that has not heard of a table yet.
type ring struct{ admin.Source }

func (ring) Ring(withTable bool) any {
	view := cluster.NewView(1, []cluster.Node{
		{Name: "r1/0000000000001", Role: proto.RoleRouter, State: cluster.Alive, Addresses: cluster.Addresses{Admin: "127.0.0.1:8001"}},
		{Name: "s1/0000000000001", Role: proto.RoleShard, State: cluster.Suspect, Zone: "z"},
	})
	return cluster.Describe("test", 8, view, cluster.NewRing(view, proto.Instance{}, plan.Settings{}, 8, nil), nil, "", withTable)
}

func TestRingAnswer(t *testing.T) {
	d := read(t, file)
	s, err := admin.New(admin.Config{Source: ring{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/v1/ring", "/v1/ring?table=0"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", target, nil)
		r.Host = "localhost"
		s.Handler().ServeHTTP(w, r)
		if err := d.CheckJSON(w.Body.Bytes(), d.Paths["/v1/ring"]["GET"].Answers[200]["application/json"].Schema); w.Code != 200 || err != nil {
			t.Errorf("%s: %d %s: %v", target, w.Code, w.Body, err)
		}
	}
}

const small = `
openapi: 3.1.0
paths:
  /x:
    get:
      responses:
        "200": {content: {application/json: {schema: {$ref: "#/components/schemas/X"}}}}
components:
  schemas:
    X:
      type: object
      required: [id, list]
      properties:
        id: {type: string, enum: [a, b]}
        list: {type: array, maxItems: 2, items: {type: integer, minimum: 1, maximum: 9}}
        rate: {type: number}
        names: {type: object, additionalProperties: {type: string, pattern: "^[a-z]+$", maxLength: 3}}
`

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCheckFindsDifferences: the checker would see an answer that is not what the file says.
func TestCheckFindsDifferences(t *testing.T) {
	d := read(t, write(t, small))
	schema := d.Paths["/x"]["GET"].Answers[200]["application/json"].Schema
	for value, want := range map[string]string{
		`{"id":"a","list":[]}`:                               "",
		`{"id":"b","list":[1,9],"rate":1,"names":{"x":"y"}}`: "",
		`{"id":"b","list":[1,9],"rate":1.5}`:                 "",
		`[]`:                                                 "type array",
		`{"id":"a"}`:                                         "list is missing",
		`{"id":"c","list":[]}`:                               ".id: c is none of",
		`{"id":7,"list":[]}`:                                 ".id: it is of type integer",
		`{"id":null,"list":[]}`:                              ".id: it is of type null",
		`{"id":"a","list":null}`:                             ".list: it is of type null",
		`{"id":"a","list":[0]}`:                              ".list[0]: 0, want 1",
		`{"id":"a","list":[1,10]}`:                           ".list[1]: 10, want 9",
		`{"id":"a","list":[1.5]}`:                            ".list[0]: it is of type number",
		`{"id":"a","list":[1,1,1]}`:                          "3 items",
		`{"id":"a","list":[],"more":1}`:                      "more is in no list",
		`{"id":"a","list":[],"names":{"x":"Y"}}`:             ".names.x: \"Y\" is not like",
		`{"id":"a","list":[],"names":{"x":"` + strings.Repeat("y", 4) + `"}}`: "4 characters",
		`{`: "unexpected end",
	} {
		if err := d.CheckJSON([]byte(value), schema); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", value, err, want)
		}
	}
}

// TestConformFindsDifferences: and a Go type that is another.
func TestConformFindsDifferences(t *testing.T) {
	type same struct {
		ID    string            `json:"id"`
		List  []uint16          `json:"list"`
		Rate  float64           `json:"rate,omitempty"`
		Names map[string]string `json:"names,omitempty"`
	}
	d := read(t, write(t, small))
	if have := d.Conform("X", reflect.TypeFor[same]()); len(have) > 0 {
		t.Errorf("%q", have)
	}
	tests := map[string]reflect.Type{
		"more is not in it": reflect.TypeFor[struct {
			same
			More int `json:"more"`
		}](),
		"rate is in it, but not": reflect.TypeFor[struct {
			ID   string `json:"id"`
			List []int  `json:"list"`
		}](),
		"required are [id list], but always there are [list]": reflect.TypeFor[struct {
			same
			ID string `json:"id,omitempty"`
		}](),
		"type string, but int is integer": reflect.TypeFor[struct {
			same
			ID int `json:"id"`
		}](),
		"X.list[]: type integer": reflect.TypeFor[struct {
			same
			List []string `json:"list"`
		}](),
		"X.list: type array": reflect.TypeFor[struct {
			same
			List []byte `json:"list"`
		}](),
		"<nil> to 2 items": reflect.TypeFor[struct {
			same
			List [2]int `json:"list"`
		}](),
	}
	for want, typ := range tests {
		if have := strings.Join(d.Conform("X", typ), "; "); !strings.Contains(have, want) {
			t.Errorf("%q, want %q", have, want)
		}
	}
	if have := d.Conform("Y", reflect.TypeFor[same]()); len(have) != 1 {
		t.Errorf("a schema that is not there: %q", have)
	}
}

// TestReadRefuses: a file in which a part hangs in the air.
func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		strings.Replace(small, "schemas/X", "schemas/Y", 1):       "refers to nothing",
		small + "    Z: {type: string}\n":                         "nothing refers to",
		strings.Replace(small, "maxItems", "uniqueItems", 1):      "X.list says uniqueItems",
		strings.Replace(small, "{$ref", "{Type: string, $ref", 1): "says Type",
		"paths: [": "x.yaml",
	} {
		if _, err := openapi.Read(write(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
