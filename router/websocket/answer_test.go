package websocket_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router/websocket"
)

func TestErrorAnswers(t *testing.T) {
	_, _, upgrade := websocket.ParseRequest([]byte(rfc6455.Request("/ws?room=r", "-Upgrade")), standard)
	for _, c := range []struct {
		err    *websocket.HTTPError
		status int
		header map[string]string
	}{
		{websocket.ErrUnauthorized, 401, map[string]string{"WWW-Authenticate": "Bearer"}},
		{websocket.ErrForbidden, 403, nil},
		{websocket.ErrForbiddenOrigin, 403, nil},
		{websocket.ErrNotFound, 404, nil},
		{websocket.ErrTooLarge, 413, nil},
		{websocket.MethodNotAllowed("GET, HEAD"), 405, map[string]string{"Allow": "GET, HEAD"}},
		{websocket.ErrRateLimited, 429, map[string]string{"Retry-After": "1"}},
		{websocket.ErrFull, 503, map[string]string{"Retry-After": "5"}},
		{websocket.ErrDraining, 503, map[string]string{"Retry-After": "1"}},
		{websocket.ErrUnavailable, 503, map[string]string{"Retry-After": "1"}},
		{upgrade, 426, map[string]string{"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}},
		{&websocket.HTTPError{Status: 400, Code: "bad_request", Message: "a \"quoted\" \\ line\nand é"}, 400, nil},
	} {
		resp, body := checkAnswer(t, websocket.AppendError(nil, c.err), c.status)
		if resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: headers %v", c.err, resp.Header)
		}
		for name, want := range c.header {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%v: %s is %q, want %q", c.err, name, got, want)
			}
		}
		var got struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error.Code != c.err.Code || got.Error.Message != c.err.Message {
			t.Errorf("body %s: %v", body, err)
		}
	}
}

func TestSwitching(t *testing.T) {
	resp, _ := checkAnswer(t, websocket.AppendSwitching(nil, rfc6455.Key, "chat"), 101)
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != rfc6455.Accept {
		t.Errorf("accept is %q, want %q", got, rfc6455.Accept)
	}
	if resp.Header.Get("Sec-WebSocket-Protocol") != "chat" || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Connection") != "Upgrade" {
		t.Errorf("headers %v", resp.Header)
	}
	if got := string(websocket.AppendSwitching(nil, rfc6455.Key, "")); strings.Contains(got, "Sec-WebSocket-Protocol") {
		t.Errorf("no subprotocol, but %q", got)
	}
}

func TestAnswer(t *testing.T) {
	a := &websocket.Answer{Status: 200, ContentType: websocket.HTML, Body: []byte("<p>"), Header: "X-A: b\r\n"}
	resp, body := checkAnswer(t, websocket.AppendAnswer(nil, a), 200)
	if body != "<p>" || resp.Header.Get("X-A") != "b" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %v %q", resp.Header, body)
	}
	a.Head = true
	if got := string(websocket.AppendAnswer(nil, a)); !strings.HasSuffix(got, "\r\n\r\n") || !strings.Contains(got, "Content-Length: 3\r\n") {
		t.Errorf("to HEAD: %q", got)
	}
}
