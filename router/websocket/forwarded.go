package websocket

import (
	"net/netip"
	"strings"
)

// Forwarded says who the client is and by which scheme ("http" or "https") it
// came, when there may be proxies before us. peer is who connected to us, scheme
// what our listener speaks, header what stood in front of the connection, zero
// for nothing; forwardedFor and forwardedProto are the request's.
//
// A peer that is not trusted is the client, whatever it says. Else the walk begins
// with whom the PROXY header names. Each proxy adds the address of its own peer at
// the end of X-Forwarded-For, so the list is read from the right for as long as
// its writer is trusted; the first address that is not trusted is the client's.
// What is left of it anybody may have made up. An entry that is no address ends
// the walk: the proxy that wrote it is then the client.
//
// X-Forwarded-Proto is believed behind every trusted peer, even one that passes on
// bytes and not requests, so that the client itself wrote it: no page can write
// such a header, and from pages alone the scheme protects.
func Forwarded(peer netip.Addr, scheme string, header ProxyHeader, forwardedFor, forwardedProto string, trusted []netip.Prefix) (netip.Addr, string) {
	client := plain(peer)
	if !Trusted(client, trusted) {
		return client, scheme
	}
	if header.Client.IsValid() {
		client = header.Client
	}
	if header.TLS {
		scheme = "https"
	}
	for Trusted(client, trusted) && forwardedFor != "" {
		var entry string
		forwardedFor, entry = cutLast(forwardedFor)
		addr, ok := parseAddress(entry)
		if !ok {
			break
		}
		client = addr
	}
	return client, forwardedScheme(scheme, forwardedProto)
}

// forwardedScheme takes the last scheme in the list: that of the proxy before
// us, which is trusted. A proxy behind another one passes the header on
// instead of adding to it.
func forwardedScheme(scheme, list string) string {
	_, last := cutLast(list)
	switch {
	case fold(last, "https"), fold(last, "wss"):
		return "https"
	case fold(last, "http"), fold(last, "ws"):
		return "http"
	}
	return scheme
}

// Trusted says whether a peer is in one of the networks.
func Trusted(peer netip.Addr, networks []netip.Prefix) bool {
	a := plain(peer)
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// cutLast takes the last element off a comma-separated list.
func cutLast(list string) (rest, last string) {
	if i := strings.LastIndexByte(list, ','); i >= 0 {
		rest, list = list[:i], list[i+1:]
	}
	return rest, strings.Trim(list, " \t")
}

// parseAddress reads an address, which some proxies write with a port.
func parseAddress(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return plain(addr), true
}

// plain is an address in the form in which all are compared.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
