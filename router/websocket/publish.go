package websocket

import (
	"strings"
)

// Publish is what a RoutePublish request asks for: one message for one room.
type Publish struct {
	Room   string // passes proto.CheckRoom
	Binary bool   // else the body must be UTF-8
	Key    string // of idempotency, 1 to maxKey visible ASCII characters; "" for none
	Body   Body
}

// maxKey bounds an idempotency key, in bytes.
const maxKey = 128

var (
	errPublishMethod = MethodNotAllowed("POST")
	errKeyForm       = badRequest("Idempotency-Key must be 1 to 128 visible ASCII characters")
)

// Publish reads what a RoutePublish request asks for, but for its body, which
// follows. Who may ask is the caller's to judge.
func (r *Request) Publish(l *Limits) (Publish, *HTTPError) {
	p := Publish{Binary: isBinary(r.ContentType)}
	if r.Method != "POST" {
		return p, errPublishMethod
	}
	name, _ := cutPublish(r.Path)
	if err := checkRoom(&p.Room, unescape(name, false)); err != nil {
		return p, err
	}
	if !validIdempotencyKey(r.IdempotencyKey) {
		return p, errKeyForm
	}
	p.Key = strings.Clone(r.IdempotencyKey)
	if r.ContentLength > int64(l.message()) {
		return p, ErrTooLarge
	}
	p.Body = Body{limit: l.message(), left: int(max(r.ContentLength, 0)), fixed: !r.Chunked}
	return p, nil
}

// isBinary says whether a body of that type is a binary message. All other
// types, and none, are text.
func isBinary(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return fold(strings.TrimRight(media, " \t"), "application/octet-stream")
}

func validIdempotencyKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return len(key) <= maxKey
}

// cutPublish returns the encoded room in /v1/rooms/{room}/messages.
func cutPublish(path string) (room string, ok bool) {
	room, ok = strings.CutPrefix(path, "/v1/rooms/")
	if !ok {
		return "", false
	}
	room, ok = strings.CutSuffix(room, "/messages")
	return room, ok && room != "" && strings.IndexByte(room, '/') < 0
}
