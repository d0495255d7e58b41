package websocket

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// OriginAllowed says whether a page of origin may connect. An absent origin ("")
// may: it is no browser. A present one must be the request's own scheme ("http"
// or "https"), host and port, or be in allow, whose entries pass CheckOrigin.
// "*" in it allows all but "null", which only "null" allows. A missing port is
// the scheme's default.
func OriginAllowed(origin, scheme, host string, allow []string) bool {
	if origin == "" {
		return true
	}
	from, known := parseOrigin(origin)
	for _, entry := range allow {
		if entry == "*" && origin != "null" || entry == "null" && origin == "null" {
			return true
		}
		if e, ok := parseOrigin(entry); ok && known && e.same(from) {
			return true
		}
	}
	name, port, ok := splitHost(host)
	return known && ok && from.same(site{scheme, name, port})
}

// CheckOrigin returns an error for what cannot be an entry of OriginAllowed's
// list: "*", "null" and scheme://host[:port] can.
func CheckOrigin(entry string) error {
	if _, ok := parseOrigin(entry); !ok && entry != "*" && entry != "null" {
		return fmt.Errorf("origin %q: want scheme://host[:port], *, or null", entry)
	}
	return nil
}

// site is an origin in its parts.
type site struct{ scheme, name, port string }

func (a site) same(b site) bool {
	return fold(a.scheme, b.scheme) && fold(a.name, b.name) && a.portOrDefault() == b.portOrDefault()
}

func (a site) portOrDefault() string {
	switch {
	case a.port != "":
		return a.port
	case fold(a.scheme, "http"):
		return "80"
	case fold(a.scheme, "https"):
		return "443"
	}
	return ""
}

func parseOrigin(s string) (site, bool) {
	scheme, host, ok := strings.Cut(s, "://")
	if !ok || scheme == "" {
		return site{}, false
	}
	name, port, ok := splitHost(host)
	return site{scheme, name, port}, ok
}

// splitHost splits host[:port]. ok is false when it has not that form: the host
// a name, an IPv4 address or an IPv6 one in brackets, the port at most 65535.
func splitHost(s string) (name, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		name, port = s[:end+1], s[end+1:]
		addr, err := netip.ParseAddr(s[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", false
		}
	} else {
		end := strings.IndexByte(s, ':')
		if end < 0 {
			end = len(s)
		}
		name, port = s[:end], s[end:]
		if name == "" || !all(name, hostName) {
			return "", "", false
		}
	}
	if port == "" {
		return name, "", true
	}
	if port[0] != ':' {
		return "", "", false
	}
	port = port[1:]
	return name, port, port == "" || validPort(port)
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}
