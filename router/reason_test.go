package router

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/rfc6455"
)

// What counters are called is what is counted in them.
func TestReasonsAreLabelled(t *testing.T) {
	var codes []string
	for _, c := range closeCodes {
		if c == 0 {
			codes = append(codes, "other")
			continue
		}
		codes = append(codes, fmt.Sprint(c))
	}
	for field, want := range map[string][]string{"Refused": reasons[:], "Closed": codes} {
		f, _ := reflect.TypeFor[Counters]().FieldByName(field)
		if got := strings.Split(f.Tag.Get("labels"), ","); !slices.Equal(got, want) || f.Type.Len() != len(want) {
			t.Errorf("%s has labels %q, want %q", field, got, want)
		}
	}
}

// Every code that a request may be answered with has a counter of its own.
func TestEveryRefusalHasAReason(t *testing.T) {
	code := regexp.MustCompile(`HTTPError\{.*Code: "([a-z_]+)"`)
	found := 0
	for _, dir := range []string{".", "websocket"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range code.FindAllStringSubmatch(string(b), -1) {
				if found++; !slices.Contains(reasons[:], m[1]) && !strings.HasSuffix(file, "_test.go") {
					t.Errorf("%s: %s is not among the reasons", file, m[1])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d codes were found", found)
	}
}

// Refusals and closes are counted under what the client was told.
func TestRefusalsAreCounted(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		for _, request := range []string{
			"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
			rfc6455.Request("/ws"),
			rfc6455.Request("/ws?room=a", "+Origin: http://elsewhere.example"),
			rfc6455.Request("/ws?room=a", "Sec-WebSocket-Version: 12"),
		} {
			c := d.send(request)
			d.heard(c)
			c.Close()
		}
		c := d.send(rfc6455.Request("/ws?room=a"))
		d.heard(c)
		c.Write(rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "\xff"))
		d.heard(c)
		c.Close()
		polite := d.send(rfc6455.Request("/ws?room=a"))
		d.heard(polite)
		polite.Write(rfc6455.Frame(rfc6455.Fin|rfc6455.OEnd, "\x03\xe8"))
		d.heard(polite)
		polite.Close()
		stats, err := d.r.Stats(d.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]uint64{}
		for i := range stats {
			for k, n := range stats[i].Conns.Refused {
				got[reasons[k]] += n
			}
			for k, n := range stats[i].Conns.Closed {
				got[fmt.Sprint(closeCodes[k])] += n
			}
		}
		for k, n := range got {
			if n == 0 {
				delete(got, k)
			}
		}
		if want := map[string]uint64{"not_found": 1, "bad_room": 1, "forbidden_origin": 1, "upgrade_required": 1, "1007": 1}; !reflect.DeepEqual(got, want) {
			t.Errorf("counted %v, want %v", got, want)
		}
	})
}
