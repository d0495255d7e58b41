package websocket

import (
	"crypto/sha1"
	"encoding/base64"
)

// upgradePath is the path that WebSocket clients connect to.
const upgradePath = "/ws"

var (
	errUpgradeMethod  = MethodNotAllowed("GET")
	errNoUpgrade      = &HTTPError{Status: 426, Code: "upgrade_required", Message: "this is a WebSocket endpoint; connect with a WebSocket client", Version: true}
	errVersion        = &HTTPError{Status: 426, Code: "upgrade_required", Message: "this WebSocket version is not spoken here; use 13", Version: true}
	errNoVersion      = &HTTPError{Status: 400, Code: "bad_request", Message: "Sec-WebSocket-Version is missing; use 13", Version: true}
	errConnection     = badRequest("the Connection header does not name upgrade; does a proxy on the way drop it?")
	errKey            = badRequest("Sec-WebSocket-Key must be base64 of 16 bytes, once")
	errUpgradeBody    = badRequest("an upgrade request must not have a body")
	errBadSubprotocol = &HTTPError{Status: 400, Code: "bad_subprotocol", Message: "none of the offered subprotocols is known here; offer none to speak raw"}
)

// checkUpgrade judges what makes a request a WebSocket handshake (RFC 6455,
// section 4.2.1), and chooses the subprotocol.
func (p *parser) checkUpgrade(l *Limits) *HTTPError {
	switch {
	case p.req.Method != "GET":
		return errUpgradeMethod
	case !p.upgradeWebSocket:
		return errNoUpgrade
	case p.version == "":
		return errNoVersion
	case p.version != "13":
		return errVersion
	case !p.connectionUpgrade:
		return errConnection
	case !validKey(p.req.Key):
		return errKey
	case p.req.ContentLength > 0:
		return errUpgradeBody
	}
	return p.chooseSubprotocol(l.Subprotocols)
}

// chooseSubprotocol takes the first offered one that is known.
func (p *parser) chooseSubprotocol(known []string) *HTTPError {
	if p.subprotocols == "" {
		return nil
	}
	for offered := range tokens(p.subprotocols) {
		for _, k := range known {
			if k == offered && p.req.Subprotocol == "" {
				p.req.Subprotocol = k
			}
		}
	}
	if p.req.Subprotocol == "" {
		return errBadSubprotocol
	}
	return nil
}

// validKey says whether key is base64 of 16 bytes: 22 letters and two pads.
func validKey(key string) bool {
	if len(key) != 24 || key[22:] != "==" {
		return false
	}
	for i := range 22 {
		if c := key[i]; classes[c]&alphanumeric == 0 && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// AppendSwitching appends the answer that accepts an upgrade. key is the
// request's; an empty subprotocol is left out.
func AppendSwitching(b []byte, key, subprotocol string) []byte {
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	var proof [24 + 36]byte
	copy(proof[copy(proof[:24], key):], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
	sum := sha1.Sum(proof[:])
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	b = append(b, "\r\n"...)
	if subprotocol != "" {
		b = appendHeader(b, "Sec-WebSocket-Protocol", subprotocol)
	}
	return append(b, "\r\n"...)
}
