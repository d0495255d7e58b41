package rfc6455

import (
	"fmt"
	"strings"
)

// Handshake is a request and what it is answered.
type Handshake struct {
	Name    string
	Request string // the whole request, as bytes

	Status int    // 101 when it is accepted
	Code   string // the error's code; "" with 101

	// What an accepted request asked for.
	Room, Token string
	Since       string // "" for none, "0", or a position
	Num, NoEcho bool
}

// Key and Accept are the key that the accepted requests carry and the answer
// to it; they are those of RFC 6455, section 1.3.
const (
	Key    = "dGhlIHNhbXBsZSBub25jZQ=="
	Accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Request returns a valid handshake for target. Each change edits it: "Name:
// value" replaces the header of that name, "+Name: value" adds a line, "-Name"
// drops one.
func Request(target string, changes ...string) string {
	lines := []string{
		"Host: example.com",
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + Key,
		"Sec-WebSocket-Version: 13",
	}
	for _, c := range changes {
		lines = change(lines, c)
	}
	return "GET " + target + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func change(lines []string, c string) []string {
	if line, ok := strings.CutPrefix(c, "+"); ok {
		return append(lines, line)
	}
	drop := strings.HasPrefix(c, "-")
	name, _, _ := strings.Cut(strings.TrimPrefix(c, "-"), ":")
	for i, line := range lines {
		if strings.HasPrefix(line, name+":") {
			if drop {
				return append(lines[:i:i], lines[i+1:]...)
			}
			lines[i] = c
			return lines
		}
	}
	panic("rfc6455: no such header: " + name)
}

const position = "0123456789abc.42"

// Handshakes returns the table.
func Handshakes() []Handshake {
	return append(goodHandshakes(), badHandshakes()...)
}

func goodHandshakes() []Handshake {
	ok := func(name, request, room string) Handshake {
		return Handshake{Name: name, Request: request, Status: 101, Room: room}
	}
	target := func(name, query, room string) Handshake { return ok(name, Request("/ws?"+query), room) }
	with := func(name string, changes ...string) Handshake {
		return ok(name, Request("/ws?room=r", changes...), "r")
	}
	resume := func(name, query, since string) Handshake {
		h := target(name, query, "r")
		h.Since, h.Num = since, true
		return h
	}
	numbered := target("num=1", "room=r&num=1", "r")
	numbered.Num = true
	silent := target("echo=0", "echo=0&room=r", "r")
	silent.NoEcho = true
	token := target("a token", "room=r&token=a%2Bb", "r")
	token.Token = "a+b"
	return []Handshake{
		with("plain"),
		with("header names in other cases", "-Host", "+hOST: example.com"),
		with("upgrade in other case", "Upgrade: WebSocket"),
		with("upgrade among others", "Upgrade: h2c, websocket"),
		with("connection in other case", "Connection: uPgRaDe"),
		with("connection among others", "Connection: keep-alive, Upgrade"),
		with("connection in two lines", "Connection: keep-alive", "+Connection: Upgrade"),
		with("empty elements in a list", "Connection: , ,Upgrade,"),
		with("no space behind a colon", "Host:example.com"),
		with("spaces and tabs around a value", "Upgrade: \t websocket \t "),
		with("an empty header", "+X-Empty:"),
		with("bytes above ASCII in a header", "+X-Name: caf\xe9 \xff"),
		with("content-length 0", "+Content-Length: 0"),
		with("content-length 0 twice", "+Content-Length: 0", "+Content-Length: 0"),
		with("an offer of compression is declined", "+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
		with("host with port", "Host: example.com:8000"),
		with("host is an IPv6 address", "Host: [::1]:8000"),
		with("host with an empty port", "Host: example.com:"),
		with("own origin", "+Origin: http://example.com"),
		with("own origin, port written out", "+Origin: http://EXAMPLE.com:80"),
		with("64 headers", headers(59)...),
		with("a head of exactly 8 KiB", fill(8<<10)),
		ok("a target of exactly 2 KiB", Request("/ws?room=r&x="+strings.Repeat("x", 2<<10-len("/ws?room=r&x="))), "r"),
		ok("absolute target", Request("http://example.com/ws?room=r"), "r"),
		ok("absolute target, wss, other host", Request("wss://other.example:9/ws?room=r"), "r"),
		target("plus is a space", "room=a+b", "a b"),
		target("escaped plus", "room=a%2Bb", "a+b"),
		target("escaped UTF-8", "room=%C3%A9%f0%9F%98%80", "é😀"),
		target("escaped name", "%72oom=r", "r"),
		target("unknown parameters", "a=1&room=r&b&=&&c=%ff&room2=x", "r"),
		target("a name of 255 bytes", "room="+strings.Repeat("n", 255), strings.Repeat("n", 255)),
		target("dots and slashes", "room=../x/", "../x/"),
		target("question mark, equals, colon", "room=a?b=c:d", "a?b=c:d"),
		target("signs that browsers leave alone", "room={a|b}^`\\", "{a|b}^`\\"),
		target("right-to-left mark", "room=%E2%80%8F", "\u200f"),
		target("num=0, echo=1", "room=r&num=0&echo=1", "r"),
		resume("since everything", "room=r&since=0", "0"),
		resume("since a position", "room=r&since="+position, position),
		resume("since offset 0", "room=r&since=0123456789abc.0&num=0", "0123456789abc.0"),
		resume("since the highest offset", "since=zzzzzzzzzzzzz.18446744073709551615&room=r", "zzzzzzzzzzzzz.18446744073709551615"),
		numbered, silent, token,
	}
}

// headers returns n more header lines.
func headers(n int) (changes []string) {
	for i := range n {
		changes = append(changes, fmt.Sprintf("+X-Header-%d: x", i))
	}
	return changes
}

// fill returns a header line that makes Request("/ws?room=r") size bytes long.
func fill(size int) string {
	const line = "X-Fill: "
	return "+" + line + strings.Repeat("x", size-len(Request("/ws?room=r"))-len(line)-len("\r\n"))
}

func badHandshakes() []Handshake {
	bad := func(name string, status int, code, request string) Handshake {
		return Handshake{Name: name, Request: request, Status: status, Code: code}
	}
	raw := func(name, request string) Handshake { return bad(name, 400, "bad_request", request) }
	with := func(name string, changes ...string) Handshake { return raw(name, Request("/ws?room=r", changes...)) }
	query := func(name, code, query string) Handshake { return bad(name, 400, code, Request("/ws?"+query)) }
	upgrade := func(name string, changes ...string) Handshake {
		return bad(name, 426, "upgrade_required", Request("/ws?room=r", changes...))
	}
	method := func(m string) Handshake {
		return bad("method "+m, 405, "method_not_allowed", m+strings.TrimPrefix(Request("/ws?room=r"), "GET"))
	}
	version := func(v string) Handshake {
		return raw("version "+v, strings.Replace(Request("/ws?room=r"), "HTTP/1.1", v, 1))
	}
	return []Handshake{
		// The request line.
		method("POST"), method("HEAD"), method("get"), method("OPTIONS"),
		version("HTTP/1.0"), version("HTTP/2.0"), version("http/1.1"), version("HTTP/1.1 "), version("HTTP/1.12"),
		raw("no version", strings.Replace(Request("/ws?room=r"), " HTTP/1.1", "", 1)),
		raw("no method", strings.TrimPrefix(Request("/ws?room=r"), "GET")),
		raw("no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n"),
		raw("two spaces before the target", Request(" /ws?room=r")),
		raw("a space in the target", Request("/ws?room=a b")),
		raw("a tab in the target", Request("/ws?room=a\tb")),
		raw("a fragment in the target", Request("/ws?room=r#x")),
		raw("a NUL in the target", Request("/ws?room=a\x00b")),
		raw("bytes above ASCII in the target", Request("/ws?room=é")),
		raw("bytes above ASCII in an unknown parameter", Request("/ws?room=r&x=\xff")),
		raw("a relative target", Request("ws?room=r")),
		raw("an asterisk for a target", Request("*")),
		raw("absolute target of another scheme", Request("ftp://example.com/ws?room=r")),
		raw("absolute target without a host", Request("http:///ws?room=r")),
		raw("absolute target with a bad host", Request("http://a@b/ws?room=r")),
		raw("an empty line before the request", "\r\n"+Request("/ws?room=r")),
		raw("a space before the request", " "+Request("/ws?room=r")),
		raw("the hello of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		bad("a target over 2 KiB", 414, "uri_too_long", Request("/ws?room=r&x="+strings.Repeat("x", 2<<10-len("/ws?room=r&x=")+1))),
		bad("a request line without an end", 414, "uri_too_long", "GET /ws?room="+strings.Repeat("x", 8<<10)),

		// Header lines.
		raw("lines end in LF", strings.ReplaceAll(Request("/ws?room=r"), "\r\n", "\n")),
		raw("one line ends in LF", strings.Replace(Request("/ws?room=r"), "websocket\r\n", "websocket\n", 1)),
		raw("the last line is LF", strings.TrimSuffix(Request("/ws?room=r"), "\r\n")+"\n"),
		with("a CR inside a line", "+X-A: a\rb"),
		with("two CR at a line's end", "+X-A: a\r"),
		with("a folded line", "+X-A: a\r\n b"),
		with("a line folded with a tab", "+X-A: a\r\n\tb"),
		with("a space before the colon", "+X-A : a"),
		with("a space before the name", "+ X-A: a"),
		with("no colon", "+X-A"),
		with("no name", "+: a"),
		with("a bad sign in a name", "+X(A): a"),
		with("a byte above ASCII in a name", "+X-\xe9: a"),
		with("a NUL in a value", "+X-A: a\x00b"),
		with("a NUL in a name", "+X-\x00A: b"),
		with("a control character in a value", "+X-A: a\x01b"),
		with("a DEL in a value", "+X-A: a\x7fb"),
		bad("65 headers", 431, "header_too_large", Request("/ws?room=r", headers(60)...)),
		bad("a head of 8 KiB and a byte", 431, "header_too_large", Request("/ws?room=r", fill(8<<10+1))),
		bad("a header without an end", 431, "header_too_large", "GET /ws?room=r HTTP/1.1\r\nX-A: "+strings.Repeat("x", 8<<10)),

		// Host and body.
		with("no host", "-Host"),
		with("an empty host", "Host:"),
		with("two hosts", "+Host: example.com"),
		with("a host with a path", "Host: example.com/x"),
		with("a host with a user", "Host: me@example.com"),
		with("a host with a space", "Host: example.com other.com"),
		with("two hosts in one line", "Host: example.com,other.com"),
		with("a host with a bad port", "Host: example.com:http"),
		with("a host with a port too high", "Host: example.com:65536"),
		with("a host with an open bracket", "Host: [::1"),
		with("a host with a name in brackets", "Host: [localhost]"),
		with("a body", "+Content-Length: 5"),
		with("two lengths", "+Content-Length: 0", "+Content-Length: 5"),
		with("two lengths, the other way round", "+Content-Length: 5", "+Content-Length: 0"),
		with("a negative length", "+Content-Length: -1"),
		with("a length with a sign", "+Content-Length: +0"),
		with("an empty length", "+Content-Length:"),
		with("a list of lengths", "+Content-Length: 0, 0"),
		with("a length that overflows", "+Content-Length: 18446744073709551616"),
		with("a chunked body", "+Transfer-Encoding: chunked"),
		with("a length and a chunked body", "+Content-Length: 0", "+Transfer-Encoding: chunked"),
		with("an empty origin", "+Origin:"),
		with("two origins", "+Origin: http://example.com", "+Origin: http://example.com"),
		with("two authorizations", "+Authorization: Bearer a", "+Authorization: Bearer b"),

		// What makes it a WebSocket.
		upgrade("no upgrade", "-Upgrade"),
		upgrade("neither upgrade nor connection", "-Upgrade", "-Connection"),
		upgrade("upgrade to something else", "Upgrade: h2c"),
		upgrade("upgrade to something longer", "Upgrade: websockets"),
		upgrade("a sign that folds to k", "Upgrade: webso\u212aet"),
		upgrade("version 8", "Sec-WebSocket-Version: 8"),
		upgrade("version 14", "Sec-WebSocket-Version: 14"),
		upgrade("versions in one line", "Sec-WebSocket-Version: 13, 8"),
		upgrade("version 013", "Sec-WebSocket-Version: 013"),
		with("no version header", "-Sec-WebSocket-Version"),
		with("two versions", "+Sec-WebSocket-Version: 8"),
		with("no connection header", "-Connection"),
		with("connection without upgrade", "Connection: keep-alive"),
		with("connection with something longer", "Connection: upgraded"),
		with("no key", "-Sec-WebSocket-Key"),
		with("an empty key", "Sec-WebSocket-Key:"),
		with("two keys", "+Sec-WebSocket-Key: "+Key),
		with("a key of 15 bytes", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"),
		with("a key of 17 bytes", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="),
		with("a key of 18 bytes", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"),
		with("a key that is not base64", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!=="),
		with("a key in URL base64", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2-_ZQ=="),
		with("a key without padding", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
		with("an empty subprotocol", "+Sec-WebSocket-Protocol:"),
		with("a subprotocol that is no token", "+Sec-WebSocket-Protocol: a b"),
		bad("an unknown subprotocol", 400, "bad_subprotocol", Request("/ws?room=r", "+Sec-WebSocket-Protocol: chat")),
		bad("unknown subprotocols", 400, "bad_subprotocol", Request("/ws?room=r", "+Sec-WebSocket-Protocol: chat, superchat", "+Sec-WebSocket-Protocol: x")),

		// The query.
		bad("no query", 400, "bad_room", Request("/ws")),
		query("no room", "bad_room", "num=1"),
		query("an empty room", "bad_room", "room="),
		query("a room without a value", "bad_room", "room"),
		query("two rooms", "bad_room", "room=a&room=b"),
		query("the same room twice", "bad_room", "room=a&%72oom=a"),
		query("a name of 256 bytes", "bad_room", "room="+strings.Repeat("n", 256)),
		query("a NUL in a name", "bad_room", "room=a%00b"),
		query("a newline in a name", "bad_room", "room=a%0ab"),
		query("a DEL in a name", "bad_room", "room=a%7f"),
		query("a C1 control in a name", "bad_room", "room=a%C2%85"),
		query("bad UTF-8 in a name", "bad_room", "room=a%ff"),
		query("a surrogate in a name", "bad_room", "room=%ED%A0%80"),
		query("an escape with bad digits", "bad_request", "room=%zz"),
		query("an escape cut short", "bad_request", "room=a%4"),
		query("a percent sign at the end", "bad_request", "room=a%"),
		query("a bad escape in an unknown parameter", "bad_request", "room=a&x=%"),
		query("num=2", "bad_request", "room=a&num=2"),
		query("num=true", "bad_request", "room=a&num=true"),
		query("an empty num", "bad_request", "room=a&num="),
		query("num twice", "bad_request", "room=a&num=1&num=1"),
		query("an empty echo", "bad_request", "room=a&echo"),
		query("echo=00", "bad_request", "room=a&echo=00"),
		query("an empty since", "bad_since", "room=a&since="),
		query("since without a dot", "bad_since", "room=a&since=0123456789abc"),
		query("since with a leading zero", "bad_since", "room=a&since=0123456789abc.01"),
		query("since 00", "bad_since", "room=a&since=00"),
		query("since 1", "bad_since", "room=a&since=1"),
		query("since with a short epoch", "bad_since", "room=a&since=0123456789ab.1"),
		query("since with a long epoch", "bad_since", "room=a&since=0123456789abcd.1"),
		query("since in capitals", "bad_since", "room=a&since=0123456789ABC.1"),
		query("since with a sign", "bad_since", "room=a&since=0123456789abc.%2B1"),
		query("since that overflows", "bad_since", "room=a&since=0123456789abc.18446744073709551616"),
		query("since with an empty offset", "bad_since", "room=a&since=0123456789abc."),
		query("since twice", "bad_since", "room=a&since=0&since=0"),
		query("a position twice", "bad_since", "room=a&since="+position+"&since="+position),
		query("token twice", "bad_request", "room=a&token=a&token=b"),
	}
}
