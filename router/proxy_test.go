package router

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/internal/rfc6455"
)

// Headers that name 192.0.2.7, the second with TLS.
const (
	proxy1 = "PROXY TCP4 192.0.2.7 10.0.0.1 4000 443\r\n"
	proxy2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x14\xc0\x00\x02\x07\x0a\x00\x00\x01\x0f\xa0\x01\xbb\x20\x00\x05\x01\x00\x00\x00\x00"
	local2 = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// behindProxies is a router whose clients in 10.9.0.0/16 are proxies: those of
// desk.send are.
func behindProxies() Config {
	return Config{ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}
}

// from says something from an address, in pieces when there are several.
func (d *desk) from(ip string, pieces ...string) net.Conn {
	d.t.Helper()
	c, err := d.network.Host(ip).DialContext(d.t.Context(), "10.0.0.1:8000")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	for _, p := range pieces {
		if _, err := io.WriteString(c, p); err != nil {
			break // it was refused before the last byte
		}
		time.Sleep(time.Millisecond)
	}
	return c
}

// status is the first line of what a client is answered within a second, "" for nothing.
func (d *desk) status(c net.Conn) string {
	d.t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Second))
	b, _ := io.ReadAll(c)
	line, _, _ := strings.Cut(string(b), "\r\n")
	return strings.TrimPrefix(line, "HTTP/1.1 ")
}

// refusals are the counters of refused requests that are not zero.
func (d *desk) refusals() map[string]uint64 {
	d.t.Helper()
	stats, err := d.r.Stats(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	got := map[string]uint64{}
	for i := range stats {
		for k, n := range stats[i].Conns.Refused {
			if n > 0 {
				got[reasons[k]] += n
			}
		}
	}
	return got
}

// Whoever may, and must, and does send a header; and what is answered to each.
func TestProxyProtocol(t *testing.T) {
	const proxy, other = "10.9.9.9", "10.8.8.8"
	upgrade := rfc6455.Request("/ws?room=a")
	for _, c := range []struct {
		name, ip, text, want string
		off                  bool
	}{
		{name: "a proxy, version 1", ip: proxy, text: proxy1 + upgrade, want: "101 Switching Protocols"},
		{name: "a proxy, version 2", ip: proxy, text: proxy2 + upgrade, want: "101 Switching Protocols"},
		{name: "a proxy that checks itself", ip: proxy, text: local2 + "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", want: "404 Not Found"},
		{name: "a proxy that checks itself, version 1", ip: proxy, text: "PROXY UNKNOWN\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n", want: "404 Not Found"},
		{name: "a proxy without a header", ip: proxy, text: upgrade, want: "400 Bad Request"},
		{name: "a proxy with a broken header", ip: proxy, text: "PROXY TCP4 x\r\n" + upgrade, want: "400 Bad Request"},
		{name: "a proxy with two headers", ip: proxy, text: proxy1 + proxy2 + upgrade, want: "400 Bad Request"},
		{name: "a client", ip: other, text: upgrade, want: "101 Switching Protocols"},
		{name: "a client with a header", ip: other, text: proxy1 + upgrade, want: "400 Bad Request"},
		{name: "a client with a header of version 2", ip: other, text: proxy2 + upgrade, want: "400 Bad Request"},
		{name: "a proxy, and it is off", ip: proxy, text: proxy1 + upgrade, want: "400 Bad Request", off: true},
		{name: "a proxy with version 2, and it is off", ip: proxy, text: proxy2 + upgrade, want: "400 Bad Request", off: true},
		{name: "its page, behind TLS of the proxy", ip: proxy, text: proxy2 + rfc6455.Request("/ws?room=a", "+Origin: https://example.com"), want: "101 Switching Protocols"},
		{name: "another page, behind TLS of the proxy", ip: proxy, text: proxy2 + rfc6455.Request("/ws?room=a", "+Origin: http://example.com"), want: "403 Forbidden"},
		{name: "its page, and nothing is said of TLS", ip: proxy, text: proxy1 + rfc6455.Request("/ws?room=a", "+Origin: https://example.com"), want: "403 Forbidden"},
		{name: "its page, and X-Forwarded-Proto says it", ip: proxy, text: proxy1 + rfc6455.Request("/ws?room=a", "+Origin: https://example.com", "+X-Forwarded-Proto: https"), want: "101 Switching Protocols"},
		{name: "X-Forwarded-Proto before the header's TLS", ip: proxy, text: proxy2 + rfc6455.Request("/ws?room=a", "+Origin: http://example.com", "+X-Forwarded-Proto: http"), want: "101 Switching Protocols"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := behindProxies()
			cfg.ProxyProtocol = !c.off
			inDesk(t, cfg, func(d *desk) {
				time.Sleep(time.Second)              // the owner is there
				header := strings.Index(c.text, "/") // past every header
				for _, pieces := range [][]string{{c.text}, strings.Split(c.text[:header], ""), {c.text[:header], c.text[header:]}} {
					if strings.Join(pieces, "") != c.text {
						pieces = append(pieces, c.text[header:])
					}
					if got := d.status(d.from(c.ip, pieces...)); got != c.want {
						t.Errorf("in %d pieces: %q, want %q", len(pieces), got, c.want)
					}
				}
				if n := d.refusals()["bad_proxy"]; (n == 3) != strings.HasPrefix(c.want, "400") || n != 0 && n != 3 {
					t.Errorf("%v refused", d.refusals())
				}
			})
		})
	}
}

// Limits per address are those of the client that the header names.
func TestProxyProtocolLimits(t *testing.T) {
	cfg := behindProxies()
	cfg.MaxConnsPerIP = 1
	inDesk(t, cfg, func(d *desk) {
		time.Sleep(time.Second)
		named := func(who string, lines ...string) string {
			return "PROXY TCP4 " + who + " 10.0.0.1 4000 443\r\n" + rfc6455.Request("/ws?room=a", lines...)
		}
		for _, c := range []struct{ ip, text, want string }{
			{"10.9.0.1", named("192.0.2.1"), "101 Switching Protocols"},
			{"10.9.0.2", named("192.0.2.2"), "101 Switching Protocols"},
			{"10.9.0.2", named("192.0.2.1"), "429 Too Many Requests"},
			{"10.9.0.2", named("192.0.2.1", "+X-Forwarded-For: 192.0.2.9"), "429 Too Many Requests"},
			{"10.9.0.2", named("10.9.0.7", "+X-Forwarded-For: 192.0.2.9"), "101 Switching Protocols"},
			{"10.9.0.2", named("10.9.0.7", "+X-Forwarded-For: 192.0.2.9"), "429 Too Many Requests"},
			{"192.0.2.1", rfc6455.Request("/ws?room=a"), "429 Too Many Requests"}, // it came round the proxy
			{"10.9.0.1", "PROXY UNKNOWN\r\n" + rfc6455.Request("/ws?room=a"), "101 Switching Protocols"},
			{"10.9.0.1", local2 + rfc6455.Request("/ws?room=a"), "429 Too Many Requests"},
		} {
			if got := d.status(d.from(c.ip, c.text)); got != c.want {
				t.Errorf("%s says %.60q: %q, want %q", c.ip, c.text, got, c.want)
			}
		}
	})
}

// The header is part of the handshake: one clock for both, and little is kept.
func TestProxyHeaderTime(t *testing.T) {
	inDesk(t, behindProxies(), func(d *desk) {
		began := time.Now()
		silent, slow, large := d.from("10.9.0.1"), d.from("10.9.0.1"), d.from("10.9.0.1", proxy2[:14]+"\x10\x00"+strings.Repeat("x", 4095))
		go func() {
			for i := range proxy2 {
				if _, err := io.WriteString(slow, proxy2[i:i+1]); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		for name, c := range map[string]net.Conn{"silent": silent, "slow": slow, "large": large} {
			if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			if took := time.Since(began); took < 4750*time.Millisecond || took > 6*time.Second {
				t.Errorf("%s one was closed after %v", name, took)
			}
		}
		d.idle()
		if got := d.refusals(); len(got) > 0 {
			t.Errorf("refused: %v", got)
		}
	})
}

// A flood in place of a header is refused by its first bytes.
func TestProxyHeaderFlood(t *testing.T) {
	inDesk(t, behindProxies(), func(d *desk) {
		for _, text := range []string{strings.Repeat("PROXY ", 1<<20), proxy2[:14] + "\xff\xff" + strings.Repeat("x", 1<<20)} {
			c := d.from("10.9.0.1")
			go io.WriteString(c, text)
			if got := d.status(c); got != "400 Bad Request" {
				t.Errorf("%.20q: %q", text, got)
			}
			c.Close()
		}
		d.idle()
	})
}

// certificate is a server's, and a client that takes no other.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), // time begins anew in a bubble
		DNSNames: []string{"room.example"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}, &tls.Config{RootCAs: pool, ServerName: "room.example"}
}

// With TLS of our own the header comes in front of it.
func TestProxyProtocolBeforeTLS(t *testing.T) {
	cfg := behindProxies()
	cfg.MaxConnsPerIP = 1
	server, client := certificate(t)
	cfg.TLS = server
	inDesk(t, cfg, func(d *desk) {
		time.Sleep(time.Second)
		for _, c := range []struct{ name, ip, header, want string }{
			{"version 1", "10.9.0.1", proxy1, "101 Switching Protocols"},
			{"version 2", "10.9.0.1", proxy2, "101 Switching Protocols"},
			{"the proxy itself", "10.9.0.2", local2, "101 Switching Protocols"},
			{"a client", "10.8.0.2", "", "101 Switching Protocols"},
			{"a proxy without a header", "10.9.0.3", "", ""},
			{"a proxy with a broken header", "10.9.0.3", "PROXY TCP4\r\n", ""},
			{"a client with a header", "10.8.0.3", proxy1, ""},
			{"a client with a header of version 2", "10.8.0.3", proxy2, ""},
		} {
			for _, cut := range []bool{false, true} {
				raw := d.from(c.ip)
				io.WriteString(&sliced{raw, cut}, c.header)
				s := tls.Client(raw, client)
				s.SetDeadline(time.Now().Add(time.Minute))
				io.WriteString(s, rfc6455.Request("/ws?room=a", "+Origin: https://example.com"))
				if got := d.status(s); got != c.want {
					t.Errorf("%s: %q, want %q", c.name, got, c.want)
				}
				raw.Close()
				time.Sleep(time.Second)
			}
		}
		if got := d.refusals(); len(got) != 1 || got["bad_proxy"] != 8 {
			t.Errorf("refused: %v, want 8 times bad_proxy", got)
		}

		// It is the client of the header that is counted.
		for _, c := range []struct{ ip, header, want string }{
			{"10.9.0.1", proxy1, "101 Switching Protocols"},
			{"10.9.0.2", proxy2, "429 Too Many Requests"},
			{"10.9.0.1", strings.Replace(proxy1, "2.7", "2.8", 1), "101 Switching Protocols"},
		} {
			s := tls.Client(d.from(c.ip, c.header), client)
			io.WriteString(s, rfc6455.Request("/ws?room=a"))
			if got := d.status(s); got != c.want {
				t.Errorf("%.30q from %s: %q, want %q", c.header, c.ip, got, c.want)
			}
		}
	})
}

// sliced writes byte by byte.
type sliced struct {
	to  net.Conn
	cut bool
}

func (s *sliced) Write(b []byte) (int, error) {
	if !s.cut {
		return s.to.Write(b)
	}
	for i := range b {
		if _, err := s.to.Write(b[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(time.Millisecond)
	}
	return len(b), nil
}

// A proxied brings exactly the bytes behind the header, however they come.
func TestProxiedReads(t *testing.T) {
	want := bytes.Repeat([]byte("what the client says. "), 1000)
	for _, header := range []string{proxy1, proxy2, local2} {
		for _, size := range []int{1, 7, 511, 512, 513, 100_000} {
			network := memnet.New()
			ln, err := network.Listen("10.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			near, err := network.Host("10.9.0.1").DialContext(t.Context(), "10.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			far, err := proxyListener{ln, behindProxies().TrustedProxies}.Accept()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for piece := range slices.Chunk(append([]byte(header), want...), size) {
					near.Write(piece)
				}
				near.Close()
			}()
			if got, err := io.ReadAll(far); !bytes.Equal(got, want) || err != nil {
				t.Errorf("%q in pieces of %d: %d bytes, %v", header, size, len(got), err)
			}
			if p := far.(*proxied); p.rest != nil || !p.whole || fmt.Sprint(p.header.Client) != map[bool]string{true: "invalid IP", false: "192.0.2.7"}[header == local2] {
				t.Errorf("%q: %+v", header, p)
			}
			far.Close()
			ln.Close()
		}
	}
}
