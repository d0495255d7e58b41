package demo

import (
	"mime"
	"net"
	"net/http"
	"slices"

	"github.com/roomring/roomring/admin"
)

// ActHeader must be on every request that acts, with any value. A page of another site cannot send it
// without asking first, which is refused.
const ActHeader = "X-Roomring-Demo"

var (
	errHost   = &admin.Refusal{Status: http.StatusForbidden, Code: "forbidden_host", Message: "this port is asked as localhost or by a loopback address only"}
	errOrigin = &admin.Refusal{Status: http.StatusForbidden, Code: "forbidden_origin", Message: "this port answers the page of roomring dev alone"}
	errHeader = &admin.Refusal{Status: http.StatusForbidden, Code: "forbidden", Message: "the page says " + ActHeader + " when it acts"}
	errType   = &admin.Refusal{Status: http.StatusUnsupportedMediaType, Code: "bad_request", Message: "want Content-Type: application/json"}
)

// place refuses who is not the page: names that an attacker's DNS points here (rebinding), and pages of
// other sites. A program has no business here: it asks the nodes' admin ports.
func (s *Server) place(r *http.Request) error {
	if !localHost(r.Host) {
		return errHost
	}
	if origin := r.Header["Origin"]; len(origin) != 1 || !slices.Contains(s.origins, origin[0]) {
		return errOrigin
	}
	return nil
}

// localHost reports whether a Host header names this machine.
func localHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	return err == nil && slices.Contains([]string{"127.0.0.1", "localhost", "::1"}, host)
}

// allow lets the page that asked read the answer. Its origin has passed.
func allow(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Add("Vary", "Origin")
}

// preflight answers a browser that asks whether the page may ask.
func preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "content-type, x-roomring-demo")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// deliberate refuses what acts and could have been sent by a form or an image of any page.
func deliberate(r *http.Request) error {
	if r.Header.Get(ActHeader) == "" {
		return errHeader
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errType
	}
	return nil
}
