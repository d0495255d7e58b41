package settings

import (
	"encoding/base64"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/roomring/roomring/router/websocket"
)

// FuzzConfigFile: what a file is taken for is what YAML says, each key once.
func FuzzConfigFile(f *testing.F) {
	f.Add("max-message: 3KiB\njoin: [a, b]\n")
	f.Add("a: &x [*x]\n---\n")
	f.Add("# nothing\n")
	f.Add("join: ~\n")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseFile([]byte(text), []string{"max-message", "join"}, nil)
		if err != nil {
			return
		}
		var keys map[string]any
		if yaml.Unmarshal([]byte(text), &keys) == nil && len(keys) != len(parsed) {
			t.Errorf("%q: parsed as %v", text, parsed)
		}
	})
}

// FuzzSize: a size is written again as what it was read from, or shorter.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"", "0", "64KiB", "1 MiB", "8GiB", "9223372036854775807", "9007199254740992KiB", "-1", "1e3", "+5kB", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b, again Bytes
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(b.String())); b < 0 || err != nil || again != b {
			t.Errorf("%q is %d, written as %s, read as %d, %v", text, b, b, again, err)
		}
	})
}

// FuzzKeys: a list of cluster keys that passes has 1 to maxKeys of KeySize bytes,
// and no complaint shows one.
func FuzzKeys(f *testing.F) {
	f.Add(key)
	f.Add(key + ",\n" + key)
	f.Add(strings.TrimSuffix(key, "="))
	f.Add("tokentokentokentoken tokentokentokentoken")
	f.Fuzz(func(t *testing.T, list string) {
		keys, err := parseKeys(list)
		if err == nil {
			var words []string
			for _, k := range keys {
				if len(k) != KeySize {
					t.Fatalf("a key of %d bytes", len(k))
				}
				words = append(words, base64.StdEncoding.EncodeToString(k))
			}
			if again, err := parseKeys(strings.Join(words, ",")); len(keys) == 0 || len(keys) > maxKeys || err != nil || !reflect.DeepEqual(again, keys) {
				t.Fatalf("%d keys, again %d, %v", len(keys), len(again), err)
			}
		}
		tokens, err2 := parseAPIKeys(list)
		if err2 == nil && (len(tokens) == 0 || len(tokens) > maxKeys) {
			t.Fatalf("%d tokens", len(tokens))
		}
		for _, e := range []error{err, err2} {
			for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return strings.ContainsRune(", \r\n\t", r) }) {
				if e != nil && len(word) >= minToken && strings.Contains(e.Error(), word) {
					t.Fatalf("the complaint shows it: %v", e)
				}
			}
		}
	})
}

// FuzzPrinted: what --print-config writes as a value is read as that value.
func FuzzPrinted(f *testing.F) {
	for _, s := range []string{"", "a:1,b:2", "::1,10.0.0.0/8", "*,null", "'", "~,yes,1e3,0x1f", "# no comment", "a: b", "- a", "https://[::1]:80,x", "\n", "\u2028,\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // no flag takes it
		}
		line := "join: " + yamlValue(strings.Split(text, ",")) + " # why\nid: " + yamlValue(text) + " # why\n"
		parsed, err := parseFile([]byte(line), []string{"join", "id"}, nil)
		if err != nil || parsed["join"] != text || parsed["id"] != text {
			t.Fatalf("%q is written as\n%s and read as %q, %v", text, line, parsed, err)
		}
	})
}

// FuzzRouter: settings that are accepted are safe by the rules of the flags, and
// understood by the parts that are handed them.
func FuzzRouter(f *testing.F) {
	f.Add("127.0.0.1:8000", "127.0.0.1:8003", "localhost:8002", "[::1]:8001", "", "a:1,[::1]:2", "https://app.example.com,*", "10.1.2.3/8,::1", byte(0))
	f.Add("0.0.0.0:8000", "10.0.0.1:8003", ":8002", "0.0.0.0:8001", "10.0.0.1", "", "http://[::1]:3000", "::ffff:10.0.0.1", byte(7))
	f.Add(":0", "127.0.0.1:0", "127.0.0.1:0", "[::ffff:127.0.0.1]:0", "host", "x:0", "null", "fe80::1%eth0/64", byte(1))
	p, _ := outside(nil)
	usual, err := LoadRouter(p, []string{"--id=r1", "--memory-limit=1GiB"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, listen, link, gossip, admin, advertise, join, origins, proxies string, given byte) {
		r := *usual
		r.Listen, r.Link, r.Gossip, r.Admin, r.Advertise = listen, link, gossip, admin, advertise
		r.Join, r.AllowOrigin, r.TrustedProxies, r.proxies = list(join), list(origins), list(proxies), nil
		if r.Auth = ""; given&1 != 0 {
			r.Auth = "none"
		}
		if given&2 != 0 {
			r.ClusterKey = key
		}
		if given&4 != 0 {
			r.AdminReadToken = "tokentokentokentoken"
		}
		s := source{role: "router", from: map[string]string{}, chosen: map[string]string{}}
		if s.checkRouter(&r) == nil {
			checkSafe(t, &r, given&1 != 0)
		}
	})
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// checkSafe holds accepted settings against what others can reach; open says that
// everybody may be a client.
func checkSafe(t *testing.T, r *Router, open bool) {
	t.Helper()
	near := func(address string) bool {
		host, _, err := net.SplitHostPort(address)
		ip, err2 := netip.ParseAddr(host)
		return err == nil && (host == "localhost" || err2 == nil && net.IP(ip.AsSlice()).IsLoopback())
	}
	if len(r.keys) == 0 && !(near(r.Link) && near(r.Gossip)) {
		t.Errorf("links on %s and gossip on %s without a key", r.Link, r.Gossip)
	}
	if r.AdminReadToken == "" && !near(r.Admin) {
		t.Errorf("admin on %s without a token", r.Admin)
	}
	if !open && !near(r.Listen) {
		t.Errorf("clients on %s, and nobody said so", r.Listen)
	}
	for _, origin := range r.AllowOrigin {
		if websocket.CheckOrigin(origin) != nil {
			t.Errorf("the router does not understand the origin %q", origin)
		}
	}
	for i, p := range r.proxies {
		if !p.IsValid() || p != p.Masked() || len(r.proxies) != len(r.TrustedProxies) {
			t.Errorf("%q is the network %v", r.TrustedProxies[i], p)
		}
	}
	for _, a := range append([]string{r.Listen, r.Link, r.Gossip, r.Admin}, r.Join...) {
		if _, port, err := net.SplitHostPort(a); err != nil || len(port) > 0 && (port[0] < '0' || port[0] > '9') {
			t.Errorf("%q is no address: %v", a, err)
		}
	}
}
