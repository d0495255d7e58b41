package websocket_test

import (
	"testing"

	"github.com/roomring/roomring/router/websocket"
)

func TestOriginAllowed(t *testing.T) {
	list := func(entries ...string) []string { return entries }
	for _, c := range []struct {
		origin, scheme, host string
		allow                []string
		want                 bool
	}{
		{"", "http", "a.example", nil, true},
		{"http://a.example", "http", "a.example", nil, true},
		{"HTTP://A.example", "http", "a.EXAMPLE", nil, true},
		{"http://a.example:80", "http", "a.example", nil, true},
		{"http://a.example", "http", "a.example:80", nil, true},
		{"https://a.example", "https", "a.example:443", nil, true},
		{"http://a.example:8000", "http", "a.example:8000", nil, true},
		{"http://[::1]:8000", "http", "[::1]:8000", nil, true},
		{"http://a.example", "https", "a.example", nil, false},
		{"https://a.example", "http", "a.example", nil, false},
		{"https://a.example:80", "http", "a.example", nil, false},
		{"http://a.example", "http", "a.example:8000", nil, false},
		{"http://a.example:8000", "http", "a.example", nil, false},
		{"http://b.example", "http", "a.example", nil, false},
		{"http://x.a.example", "http", "a.example", nil, false},
		{"http://a.example.evil", "http", "a.example", nil, false},
		{"http://a.example/", "http", "a.example", nil, false},
		{"http://a.example/x", "http", "a.example", nil, false},
		{"http://me@a.example", "http", "a.example", nil, false},
		{"http://a.example http://b.example", "http", "a.example", nil, false},
		{"http://a.example:", "http", "a.example", nil, true},
		{"a.example", "http", "a.example", nil, false},
		{"://a.example", "", "a.example", nil, false},
		{"http://", "http", "", nil, false},
		{"http://webso\u212aet", "http", "websoket", nil, false},
		{"null", "http", "a.example", nil, false},
		{"null", "http", "null", nil, false},
		{"null", "http", "a.example", list("*"), false},
		{"null", "http", "a.example", list("http://b.example", "null"), true},
		{"http://b.example", "http", "a.example", list("*"), true},
		{"http://b.example", "http", "a.example", list("null"), false},
		{"http://b.example", "http", "a.example", list("http://c.example", "http://b.example:80"), true},
		{"https://b.example", "http", "a.example", list("http://b.example"), false},
		{"http://b.example:81", "http", "a.example", list("http://b.example"), false},
		{"http://b.example", "http", "a.example", list("b.example"), false},
		{"app://local", "http", "a.example", list("app://local"), true},
	} {
		if got := websocket.OriginAllowed(c.origin, c.scheme, c.host, c.allow); got != c.want {
			t.Errorf("origin %q at %s %s, allowed %q: %v, want %v", c.origin, c.scheme, c.host, c.allow, got, c.want)
		}
	}
}

func TestCheckOrigin(t *testing.T) {
	for entry, good := range map[string]bool{
		"*": true, "null": true, "https://a.example": true, "http://[::1]:8000": true,
		"": false, "a.example": false, "https://a.example/": false, "https://*.example/x": false, "https://a:x": false,
	} {
		if err := websocket.CheckOrigin(entry); (err == nil) != good {
			t.Errorf("%q: %v", entry, err)
		}
	}
}
