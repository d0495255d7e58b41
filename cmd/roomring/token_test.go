package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomring/roomring/cmd/internal/process"
)

// Where the token may come from, and which goes first.
func TestTokens(t *testing.T) {
	heard := ""
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		heard = q.Header.Get("Authorization")
		w.Write([]byte(ringAnswer))
	}))
	defer h.Close()
	node := strings.TrimPrefix(h.URL, "http://")
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	one, other := file("the-token-of-one-file\n"), file("  the-token-of-another")
	short, missing := file("short"), filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name, variable, variableFile string
		args                         []string
		want                         string // what the node hears
		wrong                        string // or what is complained about
	}{
		{name: "none"},
		{name: "flag", args: []string{"--token", "typed"}, want: "typed"},
		{name: "flag for a file", args: []string{"--token-file", one}, want: "the-token-of-one-file"},
		{name: "variable", variable: "said", want: "said"},
		{name: "variable for a file", variableFile: other, want: "the-token-of-another"},
		{name: "variable before that for a file", variable: "said", variableFile: other, want: "said"},
		{name: "variable, and one for a file that is not there", variable: "said", variableFile: missing, want: "said"},
		{name: "flag before variables", variable: "said", variableFile: other, args: []string{"--token", "typed"}, want: "typed"},
		{name: "flag for a file before variables", variable: "said", variableFile: other, args: []string{"--token-file", one}, want: "the-token-of-one-file"},
		{name: "no file", args: []string{"--token-file", missing}, wrong: "--token-file: open " + missing},
		{name: "no file in the variable", variableFile: missing, wrong: "ROOMRING_ADMIN_TOKEN_FILE: open " + missing},
		{name: "no token in it", variableFile: short, wrong: "want 16 to 512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("ROOMRING_ADMIN_TOKEN", c.variable)
			t.Setenv("ROOMRING_ADMIN_TOKEN_FILE", c.variableFile)
			heard = ""
			_, errs, code := command(t.Context(), append([]string{"ring", "--node", node}, c.args...)...)
			switch {
			case c.wrong != "" && (code != process.Misuse || !strings.Contains(errs, c.wrong) || heard != ""):
				t.Errorf("code %d, %s; the node heard %q", code, errs, heard)
			case c.wrong == "" && (code != process.Good || strings.TrimPrefix(heard, "Bearer ") != c.want):
				t.Errorf("code %d, %s; the node heard %q, want %q", code, errs, heard, c.want)
			}
		})
	}
}
