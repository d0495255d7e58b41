package websocket_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router/websocket"
)

const sign2 = "\r\n\r\n\x00\r\nQUIT\n"

// header2 is a header of version 2.
func header2(command, family byte, body string) string {
	return sign2 + string(binary.BigEndian.AppendUint16([]byte{command, family}, uint16(len(body)))) + body
}

// Addresses of version 2: from 192.0.2.7:4000 and [2001:db8::7]:4000.
const (
	inet4 = "\xc0\x00\x02\x07\x0a\x00\x00\x01\x0f\xa0\x01\xbb"
	inet6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x0f\xa0\x01\xbb"
)

func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// summed is a header with a checksum of its own, damaged by so much.
func summed(before, after string, damage uint32) string {
	h := header2(0x21, 0x11, inet4+before+tlv(3, "\x00\x00\x00\x00")+after)
	sum := crc32.Checksum([]byte(h), crc32.MakeTable(crc32.Castagnoli)) + damage
	return strings.Replace(h, tlv(3, "\x00\x00\x00\x00"), tlv(3, string(binary.BigEndian.AppendUint32(nil, sum))), 1)
}

// overTLS is the TLV of HAProxy's send-proxy-v2-ssl-cn: TLS, verified, with version and name.
var overTLS = tlv(0x20, "\x05\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3")+tlv(0x22, "client"))

// proxyHeaders is what proxies may and may not say. A line of version 1 has at
// most 107 bytes.
var proxyHeaders = []struct {
	name, header string
	client       string // "" for nobody
	tls          bool
	wrong        string // what the refusal says; "" when it is accepted
}{
	{name: "v1, IPv4", header: "PROXY TCP4 192.0.2.7 10.0.0.1 4000 443\r\n", client: "192.0.2.7"},
	{name: "v1, IPv6", header: "PROXY TCP6 2001:db8::7 2001:db8::1 4000 443\r\n", client: "2001:db8::7"},
	{name: "v1, IPv4 in IPv6", header: "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 4000 443\r\n", client: "192.0.2.7"},
	{name: "v1, ports at their bounds", header: "PROXY TCP4 192.0.2.7 10.0.0.1 0 65535\r\n", client: "192.0.2.7"},
	{name: "v1, the longest with addresses", header: "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", client: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{name: "v1, unknown", header: "PROXY UNKNOWN\r\n"},
	{name: "v1, unknown with whatever", header: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"},
	{name: "v1, the longest", header: "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n"},
	{name: "v1, too long", header: "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", wrong: "version 1"},
	{name: "v1, endless", header: "PROXY TCP4 " + strings.Repeat("1", 200), wrong: "version 1"},
	{name: "v1, no carriage return", header: "PROXY TCP4 192.0.2.7 10.0.0.1 4000 443\n", wrong: "version 1"},
	{name: "v1, nothing", header: "PROXY \r\n", wrong: "version 1"},
	{name: "v1, a word more", header: "PROXY TCP4 192.0.2.7 10.0.0.1 4000 443 x\r\n", wrong: "version 1"},
	{name: "v1, a word less", header: "PROXY TCP4 192.0.2.7 10.0.0.1 4000\r\n", wrong: "version 1"},
	{name: "v1, two spaces", header: "PROXY TCP4  192.0.2.7 10.0.0.1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, other family", header: "PROXY UDP4 192.0.2.7 10.0.0.1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, family in small letters", header: "PROXY tcp4 192.0.2.7 10.0.0.1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, no address", header: "PROXY TCP4 client 10.0.0.1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, IPv6 said to be IPv4", header: "PROXY TCP4 ::1 ::1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, IPv4 said to be IPv6", header: "PROXY TCP6 192.0.2.7 10.0.0.1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, leading zero in an address", header: "PROXY TCP4 192.0.02.7 10.0.0.1 4000 443\r\n", wrong: "version 1"},
	{name: "v1, a zone", header: "PROXY TCP6 fe80::1%eth0 fe80::2 4000 443\r\n", wrong: "version 1"},
	{name: "v1, bad destination", header: "PROXY TCP4 192.0.2.7 10.0.0 4000 443\r\n", wrong: "version 1"},
	{name: "v1, port too large", header: "PROXY TCP4 192.0.2.7 10.0.0.1 4000 65536\r\n", wrong: "version 1"},
	{name: "v1, port with a sign", header: "PROXY TCP4 192.0.2.7 10.0.0.1 +4000 443\r\n", wrong: "version 1"},
	{name: "v1, port with a leading zero", header: "PROXY TCP4 192.0.2.7 10.0.0.1 04000 443\r\n", wrong: "version 1"},
	{name: "v1, empty port", header: "PROXY TCP4 192.0.2.7 10.0.0.1  443\r\n", wrong: "version 1"},

	{name: "v2, IPv4", header: header2(0x21, 0x11, inet4), client: "192.0.2.7"},
	{name: "v2, IPv6", header: header2(0x21, 0x21, inet6), client: "2001:db8::7"},
	{name: "v2, IPv4 in IPv6", header: header2(0x21, 0x21, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07"+inet6[16:]), client: "192.0.2.7"},
	{name: "v2, datagrams", header: header2(0x21, 0x12, inet4), client: "192.0.2.7"},
	{name: "v2, a unix socket", header: header2(0x21, 0x31, strings.Repeat("s", 216))},
	{name: "v2, no family", header: header2(0x21, 0x00, "")},
	{name: "v2, local", header: header2(0x20, 0x00, "")},
	{name: "v2, local with addresses", header: header2(0x20, 0x11, inet4+overTLS)},
	{name: "v2, local with garbage", header: header2(0x20, 0x11, "xyz")},
	{name: "v2, TLS", header: header2(0x21, 0x11, inet4+overTLS), client: "192.0.2.7", tls: true},
	{name: "v2, TLS without a family", header: header2(0x21, 0x00, overTLS), tls: true},
	{name: "v2, no TLS, said so", header: header2(0x21, 0x11, inet4+tlv(0x20, "\x00\x00\x00\x00\x00")), client: "192.0.2.7"},
	{name: "v2, a certificate, yet not on this connection", header: header2(0x21, 0x11, inet4+tlv(0x20, "\x06\x00\x00\x00\x00")), client: "192.0.2.7"},
	{name: "v2, TLVs that nobody knows", header: header2(0x21, 0x11, inet4+tlv(0xea, "")+tlv(0x04, "\x00\x00\x00")+overTLS+tlv(0x02, "room.example")), client: "192.0.2.7", tls: true},
	{name: "v2, a checksum", header: summed(tlv(4, "pad"), overTLS, 0), client: "192.0.2.7", tls: true},
	{name: "v2, the largest", header: header2(0x21, 0x11, inet4+tlv(4, strings.Repeat("x", 4096-12-3))), client: "192.0.2.7"},
	{name: "v2, too large", header: header2(0x21, 0x11, inet4+tlv(4, strings.Repeat("x", 4096-12-2))), wrong: "larger than 4 KiB"},
	{name: "v2, local, too large", header: header2(0x20, 0x00, strings.Repeat("x", 4097)), wrong: "larger than 4 KiB"},
	{name: "v2, 64 KiB announced", header: sign2 + "\x21\x11\xff\xff", wrong: "larger than 4 KiB"},
	{name: "v2, version 1 in it", header: header2(0x11, 0x11, inet4), wrong: "does not exist"},
	{name: "v2, version 3 in it", header: header2(0x31, 0x11, inet4), wrong: "does not exist"},
	{name: "v2, command 2", header: header2(0x22, 0x11, inet4), wrong: "does not exist"},
	{name: "v2, family 4", header: header2(0x21, 0x41, inet4), wrong: "does not exist"},
	{name: "v2, transport 3", header: header2(0x21, 0x13, inet4), wrong: "does not exist"},
	{name: "v2, short IPv4", header: header2(0x21, 0x11, inet4[:11]), wrong: "too short"},
	{name: "v2, short IPv6", header: header2(0x21, 0x21, inet6[:35]), wrong: "too short"},
	{name: "v2, short unix socket", header: header2(0x21, 0x31, strings.Repeat("s", 215)), wrong: "too short"},
	{name: "v2, half a TLV", header: header2(0x21, 0x11, inet4+"\x04\x00"), wrong: "TLV"},
	{name: "v2, TLV over the end", header: header2(0x21, 0x11, inet4+"\x04\x00\x03xx"), wrong: "TLV"},
	{name: "v2, short TLV for TLS", header: header2(0x21, 0x11, inet4+tlv(0x20, "\x01\x00\x00\x00")), wrong: "TLV"},
	{name: "v2, short checksum", header: header2(0x21, 0x11, inet4+tlv(3, "\x00\x00\x00")), wrong: "TLV"},
	{name: "v2, wrong checksum", header: summed("", "", 1), wrong: "checksum"},

	{name: "none", header: "GET /ws?room=r HTTP/1.1\r\n", wrong: "must begin with a PROXY header"},
	{name: "none, another method with P", header: "PUT /", wrong: "must begin with a PROXY header"},
	{name: "none, TLS", header: "\x16\x03\x01\x02\x00\x01", wrong: "must begin with a PROXY header"},
	{name: "v1, small letters", header: "proxy TCP4", wrong: "must begin with a PROXY header"},
	{name: "v2, damaged sign", header: "\r\n\r\n\x00\r\nQUIT\r", wrong: "must begin with a PROXY header"},
}

// TestProxyHeaders replays the table: every prefix, which is every way that the
// bytes can arrive, is undecided or has the final outcome, and what stands behind
// the header changes nothing.
func TestProxyHeaders(t *testing.T) {
	for _, c := range proxyHeaders {
		t.Run(c.name, func(t *testing.T) {
			h, n, err := websocket.ParseProxyHeader([]byte(c.header))
			if c.wrong != "" {
				if err == nil || n != 0 || err.Status != 400 || err.Code != "bad_proxy" || !strings.Contains(err.Message, c.wrong) || h != (websocket.ProxyHeader{}) {
					t.Fatalf("got %+v, %d, %v; want a refusal with %q", h, n, err, c.wrong)
				}
			} else {
				client := ""
				if h.Client.IsValid() {
					client = h.Client.String()
				}
				if err != nil || n != len(c.header) || client != c.client || h.TLS != c.tls {
					t.Fatalf("got %+v, %d of %d, %v", h, n, len(c.header), err)
				}
			}
			for i := range c.header {
				g, m, e := websocket.ParseProxyHeader([]byte(c.header[:i]))
				if m == 0 && e == nil {
					continue
				}
				if c.wrong == "" || e != err {
					t.Fatalf("with %d of %d bytes: %+v, %d, %v; whole: %+v, %d, %v", i, len(c.header), g, m, e, h, n, err)
				}
			}
			g, m, e := websocket.ParseProxyHeader([]byte(c.header + "GET / HTTP/1.1\r\n" + strings.Repeat("\xff", 9000)))
			if g != h || m != n || e != err {
				t.Fatalf("with bytes behind it: %+v, %d, %v", g, m, e)
			}
		})
	}
}

// FuzzProxyHeader: the outcome is a matter of the header alone, never of how its
// bytes arrive or of what stands behind them, and there is one within the bound.
func FuzzProxyHeader(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.header), []byte("GET /"), 7)
	}
	f.Fuzz(func(t *testing.T, b, behind []byte, cut int) {
		h, n, err := websocket.ParseProxyHeader(b)
		if n < 0 || n > len(b) || n > websocket.MaxProxyHeader || n > 0 && err != nil {
			t.Fatalf("%q: size %d, %v", b, n, err)
		}
		if n == 0 && err == nil {
			if len(b) >= websocket.MaxProxyHeader || !websocket.BeginsProxied(b) {
				t.Fatalf("%d bytes are still no header, and no refusal", len(b))
			}
			return
		}
		if h.Client.Is4In6() || h.Client.Zone() != "" {
			t.Fatalf("client %v", h.Client)
		}
		if g, m, e := websocket.ParseProxyHeader(append(slices.Clone(b), behind...)); g != h || m != n || e != err {
			t.Fatalf("%q with %q behind it: %v %d %v, without %v %d %v", b, behind, g, m, e, h, n, err)
		}
		cut = max(0, min(cut, len(b)))
		if g, m, e := websocket.ParseProxyHeader(b[:cut]); (m != 0 || e != nil) && (g != h || m != n || e != err) {
			t.Fatalf("%q cut at %d: %v %d %v, whole %v %d %v", b, cut, g, m, e, h, n, err)
		}
		if n > 0 {
			if g, m, e := websocket.ParseProxyHeader(b[:n]); g != h || m != n || e != nil {
				t.Fatalf("%q needs what stands behind it: %v %d %v", b[:n], g, m, e)
			}
		}
	})
}

// A PROXY header where a request should be is called what it is, however it
// arrives; what only begins like one is not.
func TestProxyHeaderInsteadOfARequest(t *testing.T) {
	for _, c := range proxyHeaders {
		if strings.Contains(c.wrong, "must begin") || !strings.Contains(c.header, "\r\n") {
			continue
		}
		text := c.header + rfc6455.Request("/ws?room=a")
		for i := range len(text) + 1 {
			_, n, err := websocket.ParseRequest([]byte(text[:i]), standard)
			if n != 0 || err != nil && err != websocket.ErrProxyHeader || err == nil && i == len(text) {
				t.Fatalf("%s, %d bytes: %d, %v", c.name, i, n, err)
			}
		}
	}
	for text, code := range map[string]string{
		"\r\n\r\n\x00\r\nQUIX": "bad_request", "\r\nGET / HTTP/1.1\r\n": "bad_request", "\n": "bad_request",
		"PROXY / HTTP/1.1\r\nHost: x\r\n\r\n": "", "PROX TCP4\r\n": "bad_request",
	} {
		_, n, err := websocket.ParseRequest([]byte(text), standard)
		if got := ""; err != nil {
			if got = err.Code; got != code {
				t.Errorf("%q: %s, want %q", text, got, code)
			}
		} else if code != "" || n != len(text) {
			t.Errorf("%q: %d, %v, want %q", text, n, err, code)
		}
	}
}

// Headers cost nothing that lasts.
func TestProxyHeaderAllocations(t *testing.T) {
	whole := []byte(header2(0x21, 0x11, inet4+overTLS))
	if n := testing.AllocsPerRun(100, func() { websocket.ParseProxyHeader(whole) }); n > 0 {
		t.Errorf("version 2 allocates %v times", n)
	}
}

func ExampleParseProxyHeader() {
	arrived := []byte("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\nGET /ws?room=lobby HTTP/1.1\r\n")
	header, n, refused := websocket.ParseProxyHeader(arrived)
	fmt.Println(header.Client == netip.MustParseAddr("192.0.2.7"), refused == nil)
	fmt.Printf("%q\n", arrived[n:])
	// Output:
	// true true
	// "GET /ws?room=lobby HTTP/1.1\r\n"
}
