package websocket_test

import (
	"net/netip"
	"testing"

	"github.com/roomring/roomring/router/websocket"
)

func TestForwarded(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		peer, addresses, schemes string
		client, scheme           string
	}{
		{"1.2.3.4", "", "", "1.2.3.4", "http"},
		{"1.2.3.4", "9.9.9.9", "https", "1.2.3.4", "http"}, // nobody we trust says so
		{"10.0.0.1", "", "", "10.0.0.1", "http"},
		{"10.0.0.1", "5.6.7.8", "https", "5.6.7.8", "https"},
		{"::ffff:10.0.0.1", "5.6.7.8", "HTTPS", "5.6.7.8", "https"},
		{"fd00::1", " 2001:db8::1 ", "wss", "2001:db8::1", "https"},
		{"10.0.0.1", "9.9.9.9, 5.6.7.8", "http", "5.6.7.8", "http"}, // 9.9.9.9 is made up
		{"10.0.0.1", "9.9.9.9, 5.6.7.8,10.0.0.2", "https", "5.6.7.8", "https"},
		{"10.0.0.1", "10.0.0.3, 10.0.0.2", "https", "10.0.0.3", "https"},
		{"10.0.0.1", "5.6.7.8:1234", "", "5.6.7.8", "http"},
		{"10.0.0.1", "[2001:db8::1]:1234", "", "2001:db8::1", "http"},
		{"10.0.0.1", "[2001:db8::1]", "", "2001:db8::1", "http"},
		{"10.0.0.1", "::ffff:5.6.7.8", "", "5.6.7.8", "http"},
		{"10.0.0.1", "5.6.7.8, unknown", "", "10.0.0.1", "http"},
		{"10.0.0.1", "5.6.7.8, unknown, 10.0.0.2", "", "10.0.0.2", "http"},
		{"10.0.0.1", "5.6.7.8,", "", "10.0.0.1", "http"},
		{"10.0.0.1", "5.6.7.8", "http, https", "5.6.7.8", "https"},
		{"10.0.0.1", "5.6.7.8", "https, gopher", "5.6.7.8", "http"},
	} {
		client, scheme := websocket.Forwarded(netip.MustParseAddr(c.peer), "http", websocket.ProxyHeader{}, c.addresses, c.schemes, trusted)
		if client.String() != c.client || scheme != c.scheme {
			t.Errorf("peer %s, for %q, proto %q: %s, %s; want %s, %s", c.peer, c.addresses, c.schemes, client, scheme, c.client, c.scheme)
		}
	}
}

// The PROXY header says who talked to the proxy; X-Forwarded-For goes on from there.
func TestForwardedBehindAHeader(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		peer, header     string // header: whom it names, "" for nobody
		tls              bool
		listener         string
		addresses, proto string
		client, scheme   string
	}{
		{"10.0.0.1", "5.6.7.8", false, "http", "", "", "5.6.7.8", "http"},
		{"10.0.0.1", "5.6.7.8", false, "http", "9.9.9.9", "", "5.6.7.8", "http"},           // the client itself wrote it
		{"10.0.0.1", "10.0.0.2", false, "http", "9.9.9.9, 5.6.7.8", "", "5.6.7.8", "http"}, // a second proxy, which adds to the list
		{"10.0.0.1", "10.0.0.2", false, "http", "", "", "10.0.0.2", "http"},
		{"10.0.0.1", "", false, "http", "", "", "10.0.0.1", "http"}, // the proxy's own check
		{"10.0.0.1", "", false, "http", "5.6.7.8", "", "5.6.7.8", "http"},
		{"10.0.0.1", "5.6.7.8", true, "http", "", "", "5.6.7.8", "https"},
		{"10.0.0.1", "5.6.7.8", true, "http", "", "http", "5.6.7.8", "http"}, // X-Forwarded-Proto wins
		{"10.0.0.1", "5.6.7.8", false, "http", "", "https", "5.6.7.8", "https"},
		{"10.0.0.1", "5.6.7.8", true, "http", "", "gopher", "5.6.7.8", "https"},
		{"10.0.0.1", "5.6.7.8", false, "https", "", "", "5.6.7.8", "https"},         // TLS through the proxy, to us
		{"1.2.3.4", "5.6.7.8", true, "http", "9.9.9.9", "https", "1.2.3.4", "http"}, // nobody we trust
	} {
		h := websocket.ProxyHeader{TLS: c.tls}
		if c.header != "" {
			h.Client = netip.MustParseAddr(c.header)
		}
		client, scheme := websocket.Forwarded(netip.MustParseAddr(c.peer), c.listener, h, c.addresses, c.proto, trusted)
		if client.String() != c.client || scheme != c.scheme {
			t.Errorf("%+v: %s, %s", c, client, scheme)
		}
	}
}
