package websocket_test

import (
	"cmp"
	"mime"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/websocket"
)

// The fuzz tests of what a head says; those of its form, of frames and of bodies
// stand beside the tests of those.

// FuzzQuery holds the query of an upgrade against net/url and the rules in plain
// words: the same values, the same refusal.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"room=lobby", "room=a%20b+c&num=1&echo=0&token=t%2Bt", "room=r&since=0", "room=r&since=0123456789abc.7",
		"room=r&since=0123456789abc.07", "room=r&room=r", "%72oom=r&num=2", "room=%C2%85", "room=%ff", "room=r&&=&num", "room=r;num=1", "room=r&token=a&token=b", "room=%G0", "since=&room=r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		req, n, err := websocket.ParseRequest([]byte(rfc6455.Request("/ws?"+query)), standard)
		if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) || len(query) > 2000 {
			return // no query: FuzzHandshake has those
		}
		want, code := judgeQuery(strings.ReplaceAll(query, ";", "%3B"))
		switch {
		case err != nil && (err.Code != code || n != 0):
			t.Fatalf("%q: %v, want code %q", query, err, code)
		case err != nil:
		case code != "" || n == 0:
			t.Fatalf("%q: accepted with size %d, want code %q", query, n, code)
		case req.Room != want.Room || req.Token != want.Token || req.Num != want.Num || req.Echo != want.Echo || req.Resume != want.Resume || req.Since != want.Since:
			t.Fatalf("%q: %+v, want %+v", query, req, want)
		}
	})
}

// judgeQuery is the slow and obvious way to read an upgrade's query, or to say
// the code of its refusal. Semicolons, which net/url refuses, are encoded in it.
func judgeQuery(query string) (want websocket.Request, code string) {
	v, err := url.ParseQuery(query)
	if err != nil {
		return want, "bad_request"
	}
	bit := func(name string, otherwise bool) (is, ok bool) {
		if len(v[name]) == 0 {
			return otherwise, true
		}
		return v.Get(name) == "1", len(v[name]) == 1 && (v.Get(name) == "0" || v.Get(name) == "1")
	}
	since, resume := v["since"]
	position, err := proto.ParsePosition(v.Get("since"))
	whole := v.Get("since") == "0"
	num, okNum := bit("num", false)
	echo, okEcho := bit("echo", true)
	switch {
	case len(v["room"]) != 1 || proto.CheckRoom(v.Get("room")) != nil:
		return want, "bad_room"
	case resume && (len(since) != 1 || err != nil && !whole):
		return want, "bad_since"
	case !okNum, !okEcho, len(v["token"]) > 1:
		return want, "bad_request"
	}
	if !resume || whole {
		position = proto.Position{}
	}
	return websocket.Request{Room: v.Get("room"), Token: v.Get("token"), Num: num || resume, Echo: echo, Resume: resume, Since: position}, ""
}

// FuzzPublishHead: what a publish over HTTP is taken for is what net/url and
// mime read in it, and nothing else passes.
func FuzzPublishHead(f *testing.F) {
	f.Add("a%20b", "key-1", "application/octet-stream")
	f.Add("lobby", "", "text/plain; charset=utf-8")
	f.Add("%2e%2e%2f", strings.Repeat("k", 129), "Application/Octet-Stream ; x=y")
	f.Add("%ff", "a b", "application/octet-stream+x")
	f.Fuzz(func(t *testing.T, room, key, kind string) {
		for _, s := range []string{room, key, kind} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) || len(s) > 1000 {
				return // no head, or one of several lines
			}
		}
		key, kind = strings.Trim(key, " "), strings.Trim(kind, " ")
		head := "POST /v1/rooms/" + room + "/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Type: " + kind + "\r\n"
		if key != "" { // an empty one is refused: the client has a mistake
			head += "Idempotency-Key: " + key + "\r\n"
		}
		req, _, err := websocket.ParseRequest([]byte(head+"\r\n"), standard)
		name, bad := url.PathUnescape(room)
		route := room != "" && !strings.ContainsAny(room, "/ ?#") && bad == nil
		if err != nil || req.Route != websocket.RoutePublish {
			if route {
				t.Fatalf("%q is no publish: %+v, %v", room, req, err)
			}
			return
		}
		if !route {
			t.Fatalf("%q is taken for a publish", room)
		}
		p, err := req.Publish(standard)
		valid := proto.CheckRoom(name) == nil && len(key) <= 128 && !strings.Contains(key, " ")
		if (err == nil) != valid {
			t.Fatalf("room %q, key %q: %v", name, key, err)
		}
		if err == nil && (p.Room != name || p.Key != key) {
			t.Fatalf("room %q, key %q, want %q, %q", p.Room, p.Key, name, key)
		}
		if media, _, e := mime.ParseMediaType(kind); e == nil && p.Binary != (media == "application/octet-stream") {
			t.Fatalf("type %q: binary %v", kind, p.Binary)
		}
	})
}

// FuzzForwarded: only those whose every successor is trusted are believed, and
// what stands before an address that is not trusted changes nothing.
func FuzzForwarded(f *testing.F) {
	f.Add("10.0.0.1", "1.2.3.4, 10.0.0.2", "https", "6.6.6.6")
	f.Add("1.2.3.4", "10.0.0.2", "https", "")
	f.Add("10.0.0.1>10.0.0.7", "1.2.3.4", "https", "")
	f.Add("10.0.0.1>6.6.6.6", "1.2.3.4", "https", "10.0.0.2")
	f.Add("1.2.3.4>6.6.6.6", "1.2.3.4", "https", "10.0.0.2")
	f.Add("::ffff:10.0.0.1", "[2001:db8::1]:443,  ::ffff:10.9.9.9", "ws, WSS", ", ,")
	f.Add("10.0.0.1", "unknown, fe80::1%eth0", "gopher", "x")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	trusts := func(a netip.Addr) bool { return trusted[0].Contains(a) || trusted[1].Contains(a) }
	f.Fuzz(func(t *testing.T, from, list, scheme, forged string) {
		from, named, _ := strings.Cut(from, ">") // the proxy, and whom its PROXY header names
		peer, err := netip.ParseAddr(from)
		if err != nil {
			return
		}
		var header websocket.ProxyHeader
		if a, err := netip.ParseAddr(named); err == nil {
			header.Client = a.Unmap().WithZone("")
		}
		for _, own := range []string{"http", "https"} {
			client, got := websocket.Forwarded(peer, own, header, list, scheme, trusted)
			if client.Zone() != "" || client.Is4In6() || got != "http" && got != "https" {
				t.Fatalf("%v by %s", client, got)
			}
			near := peer.Unmap().WithZone("")
			if !trusts(near) && (client != near || got != own) {
				t.Fatalf("a stranger, %v, passes for %v by %s", peer, client, got)
			}
			if near = cmp.Or(header.Client, near); client != near && trusts(peer.Unmap().WithZone("")) && !strings.Contains(list, client.String()) && !contains(list, client) {
				t.Fatalf("%v is not in %q", client, list)
			}
			if trusts(client) {
				continue // all of the list was believed: more of it is too
			}
			if forger, s := websocket.Forwarded(peer, own, header, forged+","+list, scheme, trusted); forger != client || s != got {
				t.Fatalf("%q before %q: %v, want %v", forged, list, forger, client)
			}
		}
	})
}

// contains says whether an element of a list is an address, however written.
func contains(list string, a netip.Addr) bool {
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.Trim(entry, " \t")
		host, _, err := net.SplitHostPort(entry)
		if err != nil {
			host = strings.Trim(entry, "[]")
		}
		if b, err := netip.ParseAddr(host); err == nil && b.Unmap().WithZone("") == a {
			return true
		}
	}
	return false
}

// FuzzOrigin: an origin that passes for the request's own is the same to
// net/url, the relation has no direction, and a list lets in exactly what it
// says.
func FuzzOrigin(f *testing.F) {
	f.Add("http://localhost:8000", "http", "localhost:8000")
	f.Add("https://Example.com", "https", "example.COM:443")
	f.Add("http://[::1]:80", "http", "[::1]")
	f.Add("http://a@b", "http", "b")
	f.Add("null", "http", "null")
	f.Add("http://x.example:", "http", "x.example")
	f.Fuzz(func(t *testing.T, origin, scheme, host string) {
		if origin == "" || scheme != "http" && scheme != "https" {
			return
		}
		allowed := websocket.OriginAllowed(origin, scheme, host, nil)
		if allowed {
			sameToNetURL(t, origin, scheme, host)
		}
		if from, name, ok := strings.Cut(origin, "://"); ok && (from == "http" || from == "https") {
			if back := websocket.OriginAllowed(scheme+"://"+host, from, name, nil); back != allowed {
				t.Fatalf("%q at %s://%s is %v, the other way round %v", origin, scheme, host, allowed, back)
			}
		}
		known := websocket.CheckOrigin(origin) == nil
		if in := websocket.OriginAllowed(origin, "http", "elsewhere.example", []string{origin}); known && origin != "*" && !in {
			t.Fatalf("%q is in the list and is not let in", origin)
		}
		if in := websocket.OriginAllowed("https://other.example:7", scheme, host, []string{origin}); in && !known {
			t.Fatalf("%q is no entry of a list and lets others in", origin)
		}
	})
}

func sameToNetURL(t *testing.T, origin, scheme, host string) {
	a, err := url.Parse(origin)
	b, err2 := url.Parse(scheme + "://" + host)
	if err != nil || err2 != nil {
		return // it is stricter about signs in a host
	}
	port := func(u *url.URL) string {
		if u.Port() != "" {
			return u.Port()
		}
		return map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	if !strings.EqualFold(a.Scheme, b.Scheme) || !strings.EqualFold(a.Hostname(), b.Hostname()) || port(a) != port(b) || a.User != nil || a.Path != "" {
		t.Fatalf("%q passes for %s://%s", origin, scheme, host)
	}
	if !utf8.ValidString(origin) {
		t.Fatalf("%q passes", origin)
	}
}
