package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
)

// guard decides who may ask. There are no cookies: a page in a browser has
// nothing that it could ride on, and the checks of Host and Origin keep it off
// a port that needs no token.
type guard struct {
	// hosts are the names that a request may use for a loopback port; nil
	// when the port is not one, where a token is needed anyway. A name that
	// an attacker's DNS points here (rebinding) is not among them.
	hosts  []string
	tokens atomic.Pointer[bearers]
}

// bearers are the tokens that are taken, replaced as a whole.
type bearers struct{ full, read secret }

func newGuard(c *Config) *guard {
	g := &guard{}
	g.tokens.Store(newBearers(c.Token, c.ReadToken))
	host := "127.0.0.1"
	if c.Listen != "" {
		host, _, _ = net.SplitHostPort(c.Listen)
	}
	if loopback(host) {
		g.hosts = []string{"localhost", "127.0.0.1", "::1", host}
	}
	return g
}

func newBearers(full, read string) *bearers { return &bearers{newSecret(full), newSecret(read)} }

// SetTokens has the port take other tokens from now on, instead of those of the
// Config. Where one was needed, one is; a port without stays without. Streams that
// are open go on. It may be called from any goroutine.
func (s *Server) SetTokens(full, read string) error {
	c := s.config
	if c.Token, c.ReadToken = full, read; c.guarded() != s.config.guarded() {
		return errors.New("set admin tokens: the port has some for its whole life, or none")
	}
	if err := CheckConfig(c); err != nil {
		return err
	}
	s.guard.tokens.Store(newBearers(full, read))
	return nil
}

// access is what an asker may do.
type access uint8

const (
	accessNone access = iota
	accessRead
	accessFull
)

var (
	errHost   = &Refusal{http.StatusForbidden, "forbidden_host", "this port is asked by a loopback address or as localhost only"}
	errOrigin = &Refusal{http.StatusForbidden, "forbidden_origin", "pages of other origins may not ask this port"}
	errToken  = &Refusal{http.StatusUnauthorized, "unauthorized", "a bearer token is needed"}
	errAccess = &Refusal{http.StatusForbidden, "forbidden", "this token may only read"}
)

// place refuses requests that come from a page of another site.
func (g *guard) place(r *http.Request) *Refusal {
	if g.hosts != nil && !g.knows(r.Host) {
		return errHost
	}
	if origin, ok := r.Header["Origin"]; ok && (len(origin) != 1 || !sameOrigin(r, origin[0])) {
		return errOrigin
	}
	return nil
}

// knows reports whether a Host header names this loopback port. Its port is
// not compared: a tunnel may come in by another one.
func (g *guard) knows(hostport string) bool {
	host, _, ok := splitHost(hostport, "0")
	if !ok {
		return false
	}
	for _, h := range g.hosts {
		if strings.EqualFold(host, h) {
			return true
		}
	}
	return false
}

// sameOrigin reports whether a page of the given origin was served by the very
// scheme, host and port that the request names.
func sameOrigin(r *http.Request, origin string) bool {
	scheme, missing := "http", "80"
	if r.TLS != nil {
		scheme, missing = "https", "443"
	}
	prefix := scheme + "://"
	if len(origin) < len(prefix) || !strings.EqualFold(origin[:len(prefix)], prefix) {
		return false
	}
	h1, p1, ok1 := splitHost(origin[len(prefix):], missing)
	h2, p2, ok2 := splitHost(r.Host, missing)
	return ok1 && ok2 && p1 == p2 && strings.EqualFold(h1, h2)
}

// splitHost reads host, host:port, [v6] or [v6]:port; missing is the port when
// there is none. Addresses in brackets come back without them.
func splitHost(s, missing string) (host, port string, ok bool) {
	host, port = s, missing
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", "", false
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return inner, port, found && err == nil && a.Is6()
	}
	return host, port, host != "" && !strings.ContainsAny(host, ":[]/@?#\\ ")
}

// access says what the request's token allows.
func (g *guard) access(r *http.Request) access {
	t := g.tokens.Load()
	if !t.full.set && !t.read.set {
		return accessFull
	}
	token := bearer(r.Header["Authorization"])
	// Both are always compared, so that time tells nothing of which was near.
	full, read := t.full.is(token), t.read.is(token)
	switch {
	case full:
		return accessFull
	case read:
		return accessRead
	}
	return accessNone
}

// bearer is the token of an Authorization header, "" when there is none or
// more than one header.
func bearer(values []string) string {
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// secret is a token as its hash: comparing hashes takes the same time whatever
// was sent, its length included.
type secret struct {
	set bool
	sum [sha256.Size]byte
}

func newSecret(token string) secret {
	return secret{set: token != "", sum: sha256.Sum256([]byte(token))}
}

func (s *secret) is(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], s.sum[:]) == 1 && s.set
}
