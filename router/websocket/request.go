package websocket

import (
	"bytes"
	"strings"

	"github.com/roomring/roomring/proto"
)

// Route says which of the client port's paths a request is for.
type Route uint8

// The routes. Only RouteUpgrade is judged in full by ParseRequest; the method
// and everything else about the others is the caller's to judge.
const (
	RouteOther   Route = iota // nothing here: 404
	RouteUpgrade              // /ws: a WebSocket handshake, checked
	RouteHealth               // /healthz
	RoutePublish              // /v1/rooms/{room}/messages; see Request.Publish
	RouteRoot                 // /
)

// Request is the head of an HTTP request. Its strings share one copy of the
// head, but for Room, which may be kept for as long as one likes.
type Request struct {
	Route    Route
	Method   string
	Path     string // as sent, percent-encoded
	RawQuery string // as sent

	// What the query of an upgrade asks for.
	Room   string         // passes proto.CheckRoom
	Resume bool           // since was given: send what is kept above Since first
	Since  proto.Position // zero with Resume: everything that is kept
	Num    bool           // number the messages; implied by since
	Echo   bool           // hear one's own messages; the default
	Token  string

	// Host is the authority that the client meant: the Host header's, or that
	// of a target in absolute form. It has been checked for its form only.
	Host   string
	Origin string // "" when absent; see OriginAllowed
	Bearer string // the token of Authorization: Bearer; "" when absent

	// As sent, several lines joined by commas; see Forwarded.
	ForwardedFor   string
	ForwardedProto string

	Key         string // Sec-WebSocket-Key, checked; for AppendSwitching
	Subprotocol string // chosen from Limits.Subprotocols; "" when none was offered

	// ContentLength is the size of the body, -1 when the head names none.
	ContentLength int64
	Chunked       bool // the body comes in chunks; of RoutePublish only
	Expect        bool // waits for Continue before it sends the body

	ContentType    string // as sent, several lines joined by commas
	IdempotencyKey string // as sent; "" when absent
}

var (
	errHead          = &HTTPError{Status: 431, Code: "header_too_large", Message: "the request head is too large"}
	errHeaders       = &HTTPError{Status: 431, Code: "header_too_large", Message: "the request has too many header lines"}
	errURI           = &HTTPError{Status: 414, Code: "uri_too_long", Message: "the request target is too long"}
	errBareLF        = badRequest("a line of the request ends without a carriage return")
	errRequestLine   = badRequest("this is not a request line of HTTP/1.1")
	errTarget        = badRequest("the request target is malformed; encode what is not a plain ASCII letter, digit or sign")
	errEscape        = badRequest("a percent sign in the request target is not followed by two hexadecimal digits")
	errHeader        = badRequest("a header line is malformed")
	errNoHost        = badRequest("the Host header is missing")
	errHost          = badRequest("the host is malformed")
	errContentLength = badRequest("the Content-Length is malformed or contradicts another")
	errTransfer      = badRequest("Transfer-Encoding is not supported here; send a Content-Length")
	errTransferKind  = badRequest("no Transfer-Encoding but chunked is supported")
	errTransferBoth  = badRequest("Content-Length and Transfer-Encoding exclude each other")
)

const httpVersion = " HTTP/1.1"

// ParseRequest reads the head of a request from b and returns it with its size;
// the body, or frames, may follow behind it. A size of 0 without an error means
// that the head is not whole: call again when more bytes have been added to b.
//
// It never looks beyond Limits.Head bytes. What is too long, too many, or ends
// lines wrongly is refused as soon as it is seen, all else when the head is
// whole.
func ParseRequest(b []byte, l *Limits) (Request, int, *HTTPError) {
	n, err := scanHead(b, l)
	if err != nil || n == 0 {
		return Request{}, 0, err
	}
	// One copy for all the strings in it.
	p := parser{req: Request{ContentLength: -1, Echo: true}}
	if err := p.parse(string(b[:n]), l); err != nil {
		return Request{}, 0, err
	}
	return p.req, n, nil
}

// scanHead returns the size of the head, its final empty line included; 0 when
// that line has not come yet. It is quick enough to be called for every byte.
func scanHead(b []byte, l *Limits) (int, *HTTPError) {
	if len(b) > 0 && classes[b[0]]&token == 0 {
		return 0, checkNoLine(b) // not HTTP at all; do not wait for a line
	}
	limit := l.head()
	seen := b[:min(len(b), limit)]
	at := 0
	for lines := 0; ; lines++ {
		i := bytes.IndexByte(seen[at:], '\n')
		if i < 0 {
			return 0, checkSize(len(b), lines, limit)
		}
		if i == 0 || seen[at+i-1] != '\r' {
			return 0, errBareLF
		}
		line := seen[at : at+i-1]
		at += i + 1
		switch {
		case lines == 0:
			if err := checkRequestLine(line, l); err != nil {
				return 0, err
			}
		case len(line) == 0:
			return at, nil
		case lines > l.headers():
			return 0, errHeaders
		}
	}
}

// checkNoLine says what is wrong with bytes that begin no request, or nothing
// while they may become the PROXY header that people should hear of.
func checkNoLine(b []byte) *HTTPError {
	switch {
	case !begins(b, proxySign2):
		return errRequestLine
	case len(b) < len(proxySign2):
		return nil
	}
	return ErrProxyHeader
}

// checkSize judges a head without an end after that many whole lines.
func checkSize(size, lines, limit int) *HTTPError {
	switch {
	case size < limit:
		return nil
	case lines == 0:
		return errURI
	}
	return errHead
}

// checkRequestLine refuses what need not wait for the headers.
func checkRequestLine(line []byte, l *Limits) *HTTPError {
	target, ok := bytes.CutSuffix(line, []byte(httpVersion))
	if !ok && bytes.HasPrefix(line, []byte(proxySign1)) {
		return ErrProxyHeader
	}
	if !ok {
		return errRequestLine
	}
	if len(target)-bytes.IndexByte(target, ' ')-1 > l.uri() {
		return errURI
	}
	return nil
}

// parser is a request on its way, and what is only needed to judge it.
type parser struct {
	req Request

	authority         string // of a target in absolute form
	upgradeWebSocket  bool   // Upgrade names websocket
	connectionUpgrade bool   // Connection names upgrade
	version           string // Sec-WebSocket-Version
	subprotocols      string // Sec-WebSocket-Protocol, lines joined by commas
	authorization     bool   // Authorization was seen
	transfer          string // Transfer-Encoding, lines joined by commas
}

// parse reads a whole head, whose lines all end in CR LF.
func (p *parser) parse(head string, l *Limits) *HTTPError {
	line, rest, _ := strings.Cut(head, "\r\n")
	if err := p.parseRequestLine(line); err != nil {
		return err
	}
	for {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if line == "" {
			break
		}
		if err := p.parseHeader(line); err != nil {
			return err
		}
	}
	if p.req.Host == "" {
		return errNoHost
	}
	if p.authority != "" {
		p.req.Host = p.authority
	}
	p.req.Route = route(p.req.Path)
	if err := p.checkTransfer(); err != nil || p.req.Route != RouteUpgrade {
		return err
	}
	if err := p.checkUpgrade(l); err != nil {
		return err
	}
	return p.req.parseQuery()
}

func (p *parser) parseRequestLine(line string) *HTTPError {
	method, uri, ok := strings.Cut(strings.TrimSuffix(line, httpVersion), " ")
	if !ok || !all(method, token) {
		return errRequestLine
	}
	if uri == "" || !all(uri, target) {
		return errTarget
	}
	if !validEscapes(uri) {
		return errEscape
	}
	p.req.Method = method
	if uri[0] != '/' {
		if uri, ok = p.cutAuthority(uri); !ok {
			return errTarget
		}
	}
	p.req.Path, p.req.RawQuery, _ = strings.Cut(uri, "?")
	return nil
}

// cutAuthority takes scheme and authority off a target in absolute form.
func (p *parser) cutAuthority(uri string) (rest string, ok bool) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return "", false
	}
	if !fold(scheme, "http") && !fold(scheme, "https") && !fold(scheme, "ws") && !fold(scheme, "wss") {
		return "", false
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	p.authority, rest = rest[:end], rest[end:]
	if _, _, ok := splitHost(p.authority); !ok {
		return "", false
	}
	if rest == "" || rest[0] == '?' {
		rest = "/" + rest
	}
	return rest, true
}

func (p *parser) parseHeader(line string) *HTTPError {
	name, text, ok := strings.Cut(line, ":")
	// A name with a space before the colon is no token, nor is a folded line.
	if !ok || name == "" || !all(name, token) || !all(text, value) {
		return errHeader
	}
	text = strings.Trim(text, " \t")
	switch r := &p.req; {
	case fold(name, "Host"):
		if _, _, ok := splitHost(text); !ok {
			return errHost
		}
		return once(&r.Host, name, text)
	case fold(name, "Upgrade"):
		p.upgradeWebSocket = p.upgradeWebSocket || hasToken(text, "websocket")
	case fold(name, "Connection"):
		p.connectionUpgrade = p.connectionUpgrade || hasToken(text, "upgrade")
	case fold(name, "Sec-WebSocket-Key"):
		return once(&r.Key, name, text)
	case fold(name, "Sec-WebSocket-Version"):
		return once(&p.version, name, text)
	case fold(name, "Sec-WebSocket-Protocol"):
		return p.parseSubprotocols(text)
	case fold(name, "Origin"):
		return once(&r.Origin, name, text)
	case fold(name, "Authorization"):
		return p.parseAuthorization(text)
	case fold(name, "X-Forwarded-For"):
		join(&r.ForwardedFor, text)
	case fold(name, "X-Forwarded-Proto"):
		join(&r.ForwardedProto, text)
	case fold(name, "Content-Length"):
		return r.parseContentLength(text)
	case fold(name, "Transfer-Encoding"):
		if text == "" {
			return errTransferKind
		}
		join(&p.transfer, text)
	case fold(name, "Content-Type"):
		join(&r.ContentType, text)
	case fold(name, "Idempotency-Key"):
		return once(&r.IdempotencyKey, name, text)
	case fold(name, "Expect"):
		r.Expect = fold(text, "100-continue")
	}
	return nil
}

// checkTransfer lets a publish come in chunks, and nothing else: two parties
// that disagree where a request ends read different requests.
func (p *parser) checkTransfer() *HTTPError {
	switch {
	case p.transfer == "":
		return nil
	case p.req.Route != RoutePublish:
		return errTransfer
	case !fold(p.transfer, "chunked"):
		return errTransferKind
	case p.req.ContentLength >= 0:
		return errTransferBoth
	}
	p.req.Chunked = true
	return nil
}

func (p *parser) parseSubprotocols(value string) *HTTPError {
	some := false
	for t := range tokens(value) {
		if !all(t, token) {
			return errHeader
		}
		some = true
	}
	if !some {
		return errHeader
	}
	join(&p.subprotocols, value)
	return nil
}

// parseAuthorization takes a bearer token; other schemes are not for us.
func (p *parser) parseAuthorization(value string) *HTTPError {
	if p.authorization {
		return badRequest("the Authorization header is there twice")
	}
	p.authorization = true
	scheme, secret, _ := strings.Cut(value, " ")
	if fold(scheme, "Bearer") {
		p.req.Bearer = strings.TrimLeft(secret, " ")
	}
	return nil
}

func (r *Request) parseContentLength(value string) *HTTPError {
	// 18 digits fit in 63 bits.
	if value == "" || len(value) > 18 {
		return errContentLength
	}
	var n int64
	for i := range len(value) {
		c := value[i]
		if c < '0' || c > '9' {
			return errContentLength
		}
		n = n*10 + int64(c-'0')
	}
	if r.ContentLength >= 0 && r.ContentLength != n {
		return errContentLength
	}
	r.ContentLength = n
	return nil
}

func route(path string) Route {
	switch path {
	case upgradePath:
		return RouteUpgrade
	case "/healthz":
		return RouteHealth
	case "/":
		return RouteRoot
	}
	if _, ok := cutPublish(path); ok {
		return RoutePublish
	}
	return RouteOther
}

// once sets a field from a header that must be there at most once, and not be
// empty.
func once(field *string, name, value string) *HTTPError {
	switch {
	case *field != "":
		return badRequest("the " + name + " header is there twice")
	case value == "":
		return badRequest("the " + name + " header is empty")
	}
	*field = value
	return nil
}

// join adds a line to a header that is a list.
func join(field *string, value string) {
	if *field != "" {
		value = *field + "," + value
	}
	*field = value
}
