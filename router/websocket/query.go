package websocket

import (
	"strings"

	"github.com/roomring/roomring/proto"
)

var (
	errNoRoom    = &HTTPError{Status: 400, Code: "bad_room", Message: "say which room, as in /ws?room=NAME"}
	errTwoRooms  = &HTTPError{Status: 400, Code: "bad_room", Message: "name one room, not several"}
	errSince     = &HTTPError{Status: 400, Code: "bad_since", Message: "since must be 0 or EPOCH.OFFSET as a numbered connection showed it, once"}
	errNum       = badRequest("num must be 0 or 1, once")
	errEcho      = badRequest("echo must be 0 or 1, once")
	errTwoTokens = badRequest("token is there twice")
)

// parameter is one that we know: its value still encoded, and how often it was
// there.
type parameter struct {
	value string
	times int
}

func (p *parameter) add(value string) { p.value, p.times = value, p.times+1 }

// parseQuery reads what an upgrade asks for. The escapes of RawQuery have been
// checked. Of several faults the room's is told first.
func (r *Request) parseQuery() *HTTPError {
	var room, since, num, echo, token parameter
	for rest, more := r.RawQuery, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		switch unescape(key, true) {
		case "room":
			room.add(value)
		case "since":
			since.add(value)
		case "num":
			num.add(value)
		case "echo":
			echo.add(value)
		case "token":
			token.add(value)
		}
	}
	if err := r.setRoom(room); err != nil {
		return err
	}
	if err := r.setSince(since); err != nil {
		return err
	}
	if !setBit(&r.Num, num) {
		return errNum
	}
	if !setBit(&r.Echo, echo) {
		return errEcho
	}
	if token.times > 1 {
		return errTwoTokens
	}
	r.Num = r.Num || r.Resume
	r.Token = unescape(token.value, true)
	return nil
}

func (r *Request) setRoom(p parameter) *HTTPError {
	switch p.times {
	case 0:
		return errNoRoom
	case 1:
		return checkRoom(&r.Room, unescape(p.value, true))
	}
	return errTwoRooms
}

// checkRoom keeps a copy of name, so that a room does not keep a whole request
// head in memory.
func checkRoom(room *string, name string) *HTTPError {
	if err := proto.CheckRoom(name); err != nil {
		return &HTTPError{Status: 400, Code: "bad_room", Message: err.Error()}
	}
	*room = strings.Clone(name)
	return nil
}

func (r *Request) setSince(p parameter) *HTTPError {
	if p.times == 0 {
		return nil
	}
	value := unescape(p.value, true)
	r.Resume = true
	if value == "0" && p.times == 1 {
		return nil
	}
	since, err := proto.ParsePosition(value)
	if err != nil || p.times > 1 {
		return errSince
	}
	r.Since = since
	return nil
}

func setBit(bit *bool, p parameter) bool {
	if p.times == 0 {
		return true
	}
	value := unescape(p.value, true)
	*bit = value == "1"
	return p.times == 1 && (value == "0" || value == "1")
}

// validEscapes says whether every percent sign is followed by two hexadecimal
// digits.
func validEscapes(s string) bool {
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return true
		}
		if len(s) < i+3 || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return false
		}
		s = s[i+3:]
	}
}

// unescape decodes s, whose escapes are valid. plus says that a plus sign
// stands for a space, as in forms.
func unescape(s string, plus bool) string {
	if strings.IndexByte(s, '%') < 0 && (!plus || strings.IndexByte(s, '+') < 0) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case c == '+' && plus:
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&7 + 9
}
