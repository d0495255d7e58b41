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
		client, scheme := websocket.Forwarded(netip.MustParseAddr(c.peer), "http", c.addresses, c.schemes, trusted)
		if client.String() != c.client || scheme != c.scheme {
			t.Errorf("peer %s, for %q, proto %q: %s, %s; want %s, %s", c.peer, c.addresses, c.schemes, client, scheme, c.client, c.scheme)
		}
	}
}
