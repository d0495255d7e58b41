package websocket

import (
	"fmt"
	"net/http"
	"strconv"
)

// HTTPError is an answer to a request that is not served: the status, and the
// code and message of its JSON body. The values of this package are shared; to
// change one (its RetryAfter, say), copy it.
type HTTPError struct {
	Status  int
	Code    string // for programs: bad_room, full, ...
	Message string // for people

	Allow      string // for 405: the methods there are
	RetryAfter int    // seconds; 0 says nothing
	Version    bool   // say which WebSocket version is spoken here
}

func (e *HTTPError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

// Answers that the caller decides on; the parser gives the others.
var (
	ErrUnauthorized    = &HTTPError{Status: 401, Code: "unauthorized", Message: "a valid bearer token is needed"}
	ErrForbidden       = &HTTPError{Status: 403, Code: "forbidden", Message: "this is not allowed here"}
	ErrForbiddenOrigin = &HTTPError{Status: 403, Code: "forbidden_origin", Message: "pages of this origin may not connect; see --allow-origin"}
	ErrNotFound        = &HTTPError{Status: 404, Code: "not_found", Message: "there is nothing here; WebSocket clients connect to /ws?room=NAME"}
	ErrTooLarge        = &HTTPError{Status: 413, Code: "too_big", Message: "the message is larger than --max-message allows"}
	ErrRateLimited     = &HTTPError{Status: 429, Code: "rate_limited", Message: "too many connections from this address; try again later", RetryAfter: 1}
	ErrFull            = &HTTPError{Status: 503, Code: "full", Message: "this router has all the connections it can hold; try another", RetryAfter: 5}
	ErrDraining        = &HTTPError{Status: 503, Code: "draining", Message: "this router is shutting down; try another", RetryAfter: 1}
	ErrUnavailable     = &HTTPError{Status: 503, Code: "unavailable", Message: "no shard can be reached at the moment; try again later", RetryAfter: 1}
)

// MethodNotAllowed is the answer to a method that a path does not have. allow
// lists those it has, as in "GET, HEAD".
func MethodNotAllowed(allow string) *HTTPError {
	return &HTTPError{Status: 405, Code: "method_not_allowed", Message: "this method is not allowed here; allowed: " + allow, Allow: allow}
}

func badRequest(message string) *HTTPError {
	return &HTTPError{Status: 400, Code: "bad_request", Message: message}
}

// AppendError appends the whole HTTP answer for e, after which the connection
// is to be closed.
func AppendError(b []byte, e *HTTPError) []byte {
	// Two passes over a short text, so that Content-Length can come first.
	var scratch [256]byte
	body := appendErrorBody(scratch[:0], e)
	b = appendStart(b, e.Status, "application/json", len(body))
	if e.Allow != "" {
		b = appendHeader(b, "Allow", e.Allow)
	}
	if e.RetryAfter > 0 {
		b = append(b, "Retry-After: "...)
		b = strconv.AppendInt(b, int64(e.RetryAfter), 10)
		b = append(b, "\r\n"...)
	}
	if e.Status == 401 {
		b = appendHeader(b, "WWW-Authenticate", "Bearer")
	}
	if e.Version {
		b = appendHeader(b, "Sec-WebSocket-Version", "13")
	}
	b = append(b, "Connection: close\r\n"...)
	if e.Status == 426 {
		// Upgrade is only heard when Connection names it too.
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}

func appendErrorBody(b []byte, e *HTTPError) []byte {
	b = append(b, `{"error":{"code":`...)
	b = appendJSON(b, e.Code)
	b = append(b, `,"message":`...)
	b = appendJSON(b, e.Message)
	return append(b, "}}\n"...)
}

// appendJSON appends s, which is valid UTF-8, as a JSON string.
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// Answer is a plain HTTP answer, after which the connection is closed.
type Answer struct {
	Status      int
	ContentType string // JSON, Text or HTML
	Body        []byte

	// Header holds further lines, each ending in CR LF.
	Header string

	// Head leaves the body out, as a HEAD request wants it.
	Head bool
}

// Content types.
const (
	JSON = "application/json"
	Text = "text/plain; charset=utf-8"
	HTML = "text/html; charset=utf-8"
)

// AppendAnswer appends the whole HTTP answer a. It is not to be cached, nor its
// type to be guessed.
func AppendAnswer(b []byte, a *Answer) []byte {
	b = appendStart(b, a.Status, a.ContentType, len(a.Body))
	b = append(b, a.Header...)
	b = append(b, "Connection: close\r\n\r\n"...)
	if a.Head {
		return b
	}
	return append(b, a.Body...)
}

// Continue is the interim answer to a request with Request.Expect.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

func appendStart(b []byte, status int, contentType string, size int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\n"...)
	b = appendHeader(b, "Content-Type", contentType)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"...)
	return b
}

func appendHeader(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
