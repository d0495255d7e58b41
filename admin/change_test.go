package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/proto"
)

const jsonType = "application/json"

// changes are the paths that change something, with a body that is understood.
var changes = map[string]string{"/v1/forget": `{"node":"s2"}`, "/v1/recover": `{}`, "/v1/drain": `{}`}

// post sends one change; headers are as for ask.
func post(h http.Handler, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Host = "127.0.0.1:8001"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestChanges(t *testing.T) {
	const run = "s2/0123456789abc"
	tests := []struct {
		path, body string
		status     int
		want       string   // the code of an error, else the body
		changed    []string // what the source was asked for
	}{
		{"/v1/forget", `{"node":"s2"}`, 200, `{"node":"` + run + `"}`, []string{"forget s2"}},
		{"/v1/forget", ` {"node":"` + run + `"} ` + "\n", 200, `{"node":"` + run + `"}`, []string{"forget " + run}},
		{"/v1/forget?node=s3", `{"node":"s2"}`, 200, `{"node":"` + run + `"}`, []string{"forget s2"}},
		{"/v1/recover", `{}`, 200, `{"generation":1,"kept":4000,"reset":93,"nodes":["s1/0000000000001"]}`, []string{"recover"}},
		{"/v1/recover", "\t{ }\r\n", 200, `{"generation":1,"kept":4000,"reset":93,"nodes":["s1/0000000000001"]}`, []string{"recover"}},

		{"/v1/drain", `{"node":"s2"}`, 202, `{"node":"` + run + `"}`, []string{"drain s2"}},
		{"/v1/drain", `{"node":"` + run + `"}`, 202, `{"node":"` + run + `"}`, []string{"drain " + run}},
		{"/v1/drain", `{}`, 202, `{"node":"` + run + `"}`, []string{"drain "}},

		{"/v1/drain", ``, 400, "bad_request", nil},
		{"/v1/drain", `null`, 400, "bad_request", nil},
		{"/v1/drain", `"s2"`, 400, "bad_request", nil},
		{"/v1/drain", `{"node":null}`, 400, "bad_node", nil},
		{"/v1/drain", `{"node":""}`, 400, "bad_node", nil},
		{"/v1/drain", `{"node":"S2"}`, 400, "bad_node", nil},
		{"/v1/drain", `{"node":7}`, 400, "bad_request", nil},
		{"/v1/drain", `{"node":["s2"]}`, 400, "bad_request", nil},
		{"/v1/drain", `{"id":"s2"}`, 400, "bad_request", nil},
		{"/v1/drain?node=s2", `{}`, 400, "bad_request", nil},
		{"/v1/drain", `{"node":"` + strings.Repeat("s", MaxBody) + `"}`, 413, "body_too_large", nil},
		{"/v1/forget", ``, 400, "bad_request", nil},
		{"/v1/forget", `{}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":""}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"S2"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"s2/"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"/0123456789abc"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"s2/0123456789ab"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"s2/0123456789abc/x"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"s2\nx"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":"` + strings.Repeat("s", 64) + `"}`, 400, "bad_node", nil},
		{"/v1/forget", `{"node":["s2"]}`, 400, "bad_request", nil},
		{"/v1/forget", `{"node":"s2","force":true}`, 400, "bad_request", nil},
		{"/v1/forget", `{"node":"s2"}{"node":"s3"}`, 400, "bad_request", nil},
		{"/v1/forget", `{"node":"s2"},`, 400, "bad_request", nil},
		{"/v1/forget", `{"node":"s2"`, 400, "bad_request", nil},
		{"/v1/forget", `["s2"]`, 400, "bad_request", nil},
		{"/v1/forget", `node=s2`, 400, "bad_request", nil},
		{"/v1/recover", ``, 400, "bad_request", nil},
		{"/v1/recover", `null`, 400, "bad_request", nil},
		{"/v1/recover", `[]`, 400, "bad_request", nil},
		{"/v1/recover", `{"generation":7}`, 400, "bad_request", nil},
		{"/v1/recover/", `{}`, 404, "not_found", nil},
		{"/v1/recover", strings.Repeat(" ", MaxBody) + "{}", 413, "body_too_large", nil},
		{"/v1/forget", `{"node":"` + strings.Repeat("s", MaxBody) + `"}`, 413, "body_too_large", nil},
	}
	for _, tt := range tests {
		s := &source{forgotten: ForgetDocument{run}, drained: DrainDocument{run}, recovered: RecoverDocument{1, 4000, 93, []proto.NodeName{"s1/0000000000001"}}}
		w := post(newTest(t, Config{Source: s}), tt.path, tt.body, "Content-Type", jsonType)
		if c := code(t, w); w.Code != tt.status || c != tt.want && (c != "" || w.Body.String() != tt.want+"\n") {
			t.Errorf("%s %.60q: %d %s, want %d %s", tt.path, tt.body, w.Code, w.Body, tt.status, tt.want)
		}
		if !reflect.DeepEqual(s.changes, tt.changed) {
			t.Errorf("%s %.60q: the source was asked for %q, want %q", tt.path, tt.body, s.changes, tt.changed)
		}
	}
	if w := post(newTest(t, Config{}), "/v1/recover", "{}", "Content-Type", jsonType); w.Body.String() != `{"generation":0,"kept":0,"reset":0,"nodes":[]}`+"\n" {
		t.Errorf("a list that is null: %s", w.Body)
	}
}

// TestBodyWithoutLength: the bound holds for a body that does not say how long it is.
func TestBodyWithoutLength(t *testing.T) {
	s := &source{}
	r := httptest.NewRequest("POST", "/v1/recover", strings.NewReader(strings.Repeat(" ", MaxBody)+"{}"))
	r.Host, r.ContentLength = "127.0.0.1:8001", -1
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	newTest(t, Config{Source: s}).ServeHTTP(w, r)
	if w.Code != 413 || code(t, w) != "body_too_large" || len(s.changes) > 0 {
		t.Errorf("%d %s, asked for %q", w.Code, w.Body, s.changes)
	}
}

// TestWhoMayChange: only a full token changes anything, and never a page of another site.
func TestWhoMayChange(t *testing.T) {
	const done = 0 // 200, or 202
	both := Config{Token: "full-token", ReadToken: "read-token"}
	full := []string{"Authorization", "Bearer full-token"}
	tests := []struct {
		name    string
		config  Config
		kind    string
		headers []string
		status  int
		code    string
	}{
		{"no token needed", Config{}, jsonType, nil, done, ""},
		{"full", both, jsonType, full, done, ""},
		{"with a charset", both, "Application/JSON; charset=utf-8", full, done, ""},
		{"own origin", Config{}, jsonType, []string{"Origin", "http://127.0.0.1:8001"}, done, ""},

		{"none", both, jsonType, nil, 401, "unauthorized"},
		{"wrong", both, jsonType, []string{"Authorization", "Bearer nothing"}, 401, "unauthorized"},
		{"read", both, jsonType, []string{"Authorization", "Bearer read-token"}, 403, "forbidden"},
		{"read, and no other is set", Config{ReadToken: "read-token"}, jsonType, []string{"Authorization", "Bearer read-token"}, 403, "forbidden"},
		{"another site", Config{}, jsonType, []string{"Origin", "http://evil.example"}, 403, "forbidden_origin"},
		{"another port", Config{}, jsonType, []string{"Origin", "http://127.0.0.1:8000"}, 403, "forbidden_origin"},
		{"another site with a token", both, jsonType, append(full, "Origin", "http://evil.example"), 403, "forbidden_origin"},
		{"a form", Config{}, "application/x-www-form-urlencoded", nil, 415, "unsupported_media_type"},
		{"text", Config{}, "text/plain", nil, 415, "unsupported_media_type"},
		{"no type", Config{}, "", nil, 415, "unsupported_media_type"},
		{"half a type", Config{}, "application/json; charset", nil, 415, "unsupported_media_type"},
	}
	for _, tt := range tests {
		for path, body := range changes {
			s := &source{}
			tt.config.Source = s
			w := post(newTest(t, tt.config), path, body, append([]string{"Content-Type", tt.kind}, tt.headers...)...)
			if c := code(t, w); w.Code != tt.status && (tt.status != done || w.Code/100 != 2) || c != tt.code {
				t.Errorf("%s, %s: %d %q, want %d %q", path, tt.name, w.Code, c, tt.status, tt.code)
			}
			if (len(s.changes) > 0) != (tt.status == done) {
				t.Errorf("%s, %s: the source was asked for %q", path, tt.name, s.changes)
			}
		}
	}
	rebound := httptest.NewRequest("POST", "/v1/recover", strings.NewReader("{}"))
	rebound.Host = "evil.example"
	rebound.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	newTest(t, Config{}).ServeHTTP(w, rebound)
	if code(t, w) != "forbidden_host" {
		t.Errorf("asked under another name: %d %s", w.Code, w.Body)
	}
}

func TestMethodsOfChanges(t *testing.T) {
	s := &source{}
	h := newTest(t, Config{Source: s})
	for path := range changes {
		for _, m := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post"} {
			if w := ask(h, m, path, "Content-Type", jsonType); w.Code != 405 || w.Header().Get("Allow") != "POST" {
				t.Errorf("%s %s: %d, Allow %q", m, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	if len(s.changes) > 0 {
		t.Errorf("the source was asked for %q", s.changes)
	}
}

func TestRefusedChanges(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
		part   string // of the message
		logged int    // beside that somebody asked
	}{
		{UnknownNode("s9"), 404, "unknown_node", "no node s9 is known", 0},
		{AliveNode("s2/0123456789abc"), 409, "alive", "s2/0123456789abc is alive: drain it", 0},
		{AmbiguousNode([]proto.NodeName{"s2/a", "s2/b"}), 409, "ambiguous", "s2/a, s2/b", 0},
		{fmt.Errorf("forget s2: %w", NoMajority()), 503, "no_majority", "majority", 0},
		{HasMajority("s1/0123456789abc"), 409, "has_majority", "s1/0123456789abc", 0},
		{NoTable(), 503, "no_table", "nothing to recover from", 0},
		{context.Canceled, 503, "unavailable", "may still take effect", 0},
		{fmt.Errorf("commit: %w", context.DeadlineExceeded), 503, "unavailable", "may still take effect", 0},
		{errors.New("secret detail"), 500, "internal", "log", 1},
	}
	for _, tt := range tests {
		for path, body := range changes {
			core, logs := observer.New(zap.DebugLevel)
			w := post(newTest(t, Config{Source: &source{err: tt.err}, Logger: zap.New(core)}), path, body, "Content-Type", jsonType)
			if w.Code != tt.status || code(t, w) != tt.code || !strings.Contains(w.Body.String(), tt.part) || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%s, %v: %d %s", path, tt.err, w.Code, w.Body)
			}
			if logs.FilterMessageSnippet("operator").Len() != 1 || logs.Len() != 1+tt.logged {
				t.Errorf("%s, %v: logged %v", path, tt.err, logs.All())
			}
		}
	}
}

// TestChangeTakesBoundedTime: a source that never answers does not hold the conn, and the answer does
// not claim that nothing happened.
func TestChangeTakesBoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTest(t, Config{Source: &source{stuck: true}})
		for path, body := range changes {
			began := time.Now()
			w := post(h, path, body, "Content-Type", jsonType)
			if took := time.Since(began); took > ChangeTimeout || took < RoomTimeout || code(t, w) != "unavailable" {
				t.Errorf("%s: %d %s after %s", path, w.Code, w.Body, took)
			}
		}
	})
}

func TestReasonsHaveSentences(t *testing.T) {
	reasons := []string{ReasonNoTable, ReasonWaitingForShards, ReasonNoMajority, ReasonVoters, ReasonCopies, ReasonOwnerless, ReasonOtherInstance, ReasonNoLinks, ReasonDraining}
	if said := sentences(append(reasons, "unheard_of")); len(said) != len(reasons) || len(sentence) != len(reasons) {
		t.Errorf("%d reasons, %d sentences said of %d", len(reasons), len(said), len(sentence))
	}
}
