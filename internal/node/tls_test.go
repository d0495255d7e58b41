package node_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// Over TLS conns are driven by the portable poller on an epoll loop; a client
// must not notice.
func TestTLS(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
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
	client := &tls.Config{RootCAs: pool}

	s, err := node.OpenShard(node.Config{ID: "s1"}, shard.Config{})
	start(t, s, err)
	r, err := node.OpenRouter(node.Config{ID: "r1", Join: []string{s.Addresses().Gossip}}, "", router.Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}},
	})
	start(t, r, err)
	awaitReady(t, r)
	addr := r.Addresses().Listen
	dial := func(origin, query string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		d := ws.Dialer{TLSConfig: client, Header: ws.HandshakeHeaderHTTP(http.Header{"Origin": {origin}})}
		c, br, _, err := d.Dial(ctx, "wss://"+addr+"/ws?"+query)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		if br != nil {
			c = &buffered{c, io.MultiReader(io.LimitReader(br, int64(br.Buffered())), c)}
		}
		return c, nil
	}

	if _, err := dial("http://"+addr, "room=lobby"); err != ws.StatusError(403) {
		t.Errorf("origin of another scheme: %v, want 403", err)
	}
	a, err := dial("https://"+addr, "room=lobby")
	if err != nil {
		t.Fatal(err)
	}
	b, err := dial("https://"+addr, "room=lobby&num=1")
	if err != nil {
		t.Fatal(err)
	}
	if line := hear(t, b); !strings.HasSuffix(line, ".0") {
		t.Errorf("first line %q", line)
	}
	for i, text := range []string{"hello", "", strings.Repeat("x", 64<<10)} {
		say(t, a, text)
		if got := hear(t, a); got != text {
			t.Errorf("a heard %.20q, want %.20q", got, text)
		}
		if got, want := hear(t, b), string(rune('1'+i))+" "+text; got != want {
			t.Errorf("b heard %.20q, want %.20q", got, want)
		}
	}

	// A client that speaks plain HTTP to the port gets nothing, and harms
	// nobody.
	plain, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(plain, "GET /ws?room=lobby HTTP/1.1\r\n\r\n")
	if answer, _ := io.ReadAll(plain); strings.Contains(string(answer), "101") {
		t.Errorf("plain HTTP was answered %q", answer)
	}
	say(t, a, "still here")
	if got := hear(t, b); got != "4 still here" {
		t.Errorf("b heard %q", got)
	}
}
