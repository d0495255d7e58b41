package websocket

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
)

// ProxyHeader is what a proxy says in front of a connection that it passes on:
// the PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it.
type ProxyHeader struct {
	// Client is who connected to the proxy. It is the zero Addr when the proxy
	// speaks for itself (a health check: LOCAL, or UNKNOWN in version 1), and
	// for a client without an IP address.
	Client netip.Addr

	// TLS says that the client came to the proxy over TLS. Only version 2 can,
	// by its TLV for it; false means nothing.
	TLS bool
}

const (
	proxySign1 = "PROXY "
	proxySign2 = "\r\n\r\n\x00\r\nQUIT\n"

	// maxProxy1 is the longest line of version 1, as its specification counts.
	maxProxy1 = 107

	// proxyHead2 is the fixed part of version 2, and maxProxy2 what may follow
	// in its addresses and TLVs. Proxies send some hundred bytes; the format
	// would let them announce 64 KiB.
	proxyHead2 = 16
	maxProxy2  = 4 << 10
)

// MaxProxyHeader is the size of the largest header that is accepted, in bytes.
const MaxProxyHeader = proxyHead2 + maxProxy2

// ErrProxyHeader is the answer to a PROXY header where a request should be.
var ErrProxyHeader = badProxy("a PROXY header is believed only once, from a peer in --trusted-proxies, by a router with --proxy-protocol")

var (
	errProxyMissing = badProxy("this peer is in --trusted-proxies, and with --proxy-protocol its connections must begin with a PROXY header: have the proxy send one, or leave one of the two flags out")
	errProxyLine    = badProxy("the PROXY header of version 1 is malformed")
	errProxyVersion = badProxy("the PROXY header has a version, command or address family that does not exist")
	errProxySize    = badProxy("the PROXY header of version 2 is larger than 4 KiB")
	errProxyAddress = badProxy("the PROXY header of version 2 is too short for its addresses")
	errProxyTLV     = badProxy("the PROXY header of version 2 has a malformed TLV")
	errProxySum     = badProxy("the checksum of the PROXY header is wrong")
)

func badProxy(message string) *HTTPError {
	return &HTTPError{Status: 400, Code: "bad_proxy", Message: message}
}

// ParseProxyHeader reads the PROXY header at the beginning of b and returns it
// with its size; the client's own bytes follow behind it and are not looked at.
// A size of 0 without an error means that the header is not whole: call again
// when more bytes have been added to b, of which there are fewer than
// MaxProxyHeader then.
func ParseProxyHeader(b []byte) (ProxyHeader, int, *HTTPError) {
	switch {
	case begins(b, proxySign1):
		return parseProxy1(b)
	case begins(b, proxySign2):
		return parseProxy2(b)
	}
	return ProxyHeader{}, 0, errProxyMissing
}

// BeginsProxied says whether b begins as a PROXY header does, as far as it has come.
func BeginsProxied(b []byte) bool { return begins(b, proxySign1) || begins(b, proxySign2) }

// begins says whether b begins with sign, as far as it has come.
func begins(b []byte, sign string) bool {
	n := min(len(b), len(sign))
	return string(b[:n]) == sign[:n]
}

// parseProxy1 reads a line such as "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443".
func parseProxy1(b []byte) (h ProxyHeader, n int, err *HTTPError) {
	seen := b[:min(len(b), maxProxy1)]
	end := bytes.IndexByte(seen, '\n')
	switch {
	case end < 0 && len(seen) < maxProxy1:
		return h, 0, nil
	case end < 0, seen[end-1] != '\r':
		return h, 0, errProxyLine
	}
	line := string(seen[len(proxySign1) : end-1])
	if family, _, _ := strings.Cut(line, " "); family == "UNKNOWN" {
		return h, end + 1, nil // what stands behind it means nothing
	}
	word := strings.Split(line, " ")
	if len(word) != 5 || !isPort(word[3]) || !isPort(word[4]) {
		return h, 0, errProxyLine
	}
	from, ok := parseProxyAddress(word[0], word[1])
	if _, too := parseProxyAddress(word[0], word[2]); !ok || !too {
		return h, 0, errProxyLine
	}
	return ProxyHeader{Client: from}, end + 1, nil
}

func parseProxyAddress(family, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || !(family == "TCP4" && a.Is4() || family == "TCP6" && a.Is6()) {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

func isPort(s string) bool {
	if len(s) == 0 || len(s) > 5 || len(s) > 1 && s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n <= 65535
}

// Commands, address families and TLVs of version 2.
const (
	proxyLocal = 0x20
	proxyProxy = 0x21

	familyNone = 0
	familyIPv4 = 1
	familyIPv6 = 2
	familyUnix = 3

	tlvChecksum = 0x03
	tlvTLS      = 0x20

	clientTLS = 0x01 // in the first byte of tlvTLS
)

// familySizes are those of the two addresses and ports together.
var familySizes = [...]int{familyNone: 0, familyIPv4: 2*4 + 4, familyIPv6: 2*16 + 4, familyUnix: 2 * 108}

// parseProxy2 reads sign(12), version and command(1), family and transport(1),
// size of the rest(2), addresses, TLVs. What it refuses it refuses as soon as
// the byte that is wrong could be seen, but for what the addresses and TLVs say.
func parseProxy2(b []byte) (h ProxyHeader, n int, err *HTTPError) {
	if len(b) > 12 && b[12] != proxyLocal && b[12] != proxyProxy {
		return h, 0, errProxyVersion
	}
	if len(b) > 13 && (b[13]>>4 > familyUnix || b[13]&0xF > 2) {
		return h, 0, errProxyVersion
	}
	if len(b) < proxyHead2 {
		return h, 0, nil
	}
	n = proxyHead2 + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case n > MaxProxyHeader:
		return h, 0, errProxySize
	case len(b) < n:
		return h, 0, nil
	case b[12] == proxyLocal:
		return h, n, nil // whatever it holds
	}
	family, body := b[13]>>4, b[proxyHead2:n]
	size := familySizes[family]
	if len(body) < size {
		return h, 0, errProxyAddress
	}
	switch family {
	case familyIPv4:
		h.Client = netip.AddrFrom4([4]byte(body))
	case familyIPv6:
		h.Client = netip.AddrFrom16([16]byte(body)).Unmap()
	}
	if h.TLS, err = parseTLVs(b[:n], proxyHead2+size); err != nil {
		return ProxyHeader{}, 0, err
	}
	return h, n, nil
}

// parseTLVs reads what stands in a whole header from a place on: type(1),
// size(2), value. The checksum is judged, and it is said whether the client used
// TLS; all others are passed over.
func parseTLVs(header []byte, at int) (tls bool, err *HTTPError) {
	for at < len(header) {
		if len(header)-at < 3 {
			return false, errProxyTLV
		}
		kind, size := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += 3
		if size > len(header)-at {
			return false, errProxyTLV
		}
		value := header[at : at+size]
		switch kind {
		case tlvChecksum:
			if size != 4 {
				return false, errProxyTLV
			}
			if binary.BigEndian.Uint32(value) != proxySum(header, at) {
				return false, errProxySum
			}
		case tlvTLS:
			if size < 5 {
				return false, errProxyTLV
			}
			tls = tls || value[0]&clientTLS != 0
		}
		at += size
	}
	return tls, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// proxySum is the checksum of a header whose own field for it, at a place, counts
// as zero.
func proxySum(header []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, header[at+4:])
}
