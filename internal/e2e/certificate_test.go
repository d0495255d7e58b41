//go:build linux

package e2e

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// certificates makes an authority and a certificate of it for 127.0.0.1, and returns the flags that
// have a node use them.
func certificates(t *testing.T) []string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert := write("node.pem", "CERTIFICATE", certificate)
	return []string{"--link-cert", cert, "--link-key", write("node.key", "PRIVATE KEY", key), "--link-ca", cert}
}

// TestNoCertificate has a shard gossip with a cluster whose links it cannot join: it has the key, and
// no certificate. Both sides say so, and when a shard dies, what that owned does not wait for the
// stranger that the gossip knows.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	flags := certificates(t)
	c := newCluster(t, 2, "s1", "s2", "r1")
	for _, id := range []string{"s1", "s2", "r1"} {
		c.start(id, flags...)
	}
	before := c.waitVoters(3)
	stays := c.nodes["r1"].memberOf(t, "s1")
	moves := c.nodes["r1"].memberOf(t, "s2")

	away := newCluster(t, 2, "s9")
	away.name, away.key, away.seeds = c.name, c.key, c.seeds
	began := time.Now()
	stranger := away.start("s9")
	refusal := func(n *node) string {
		for _, line := range complaints(t, n) {
			if strings.Contains(line, "link refused") {
				return line
			}
		}
		return ""
	}
	eventually(t, "both sides say that a link was refused", patience, func() bool {
		return refusal(stranger) != "" && refusal(c.nodes["s1"]) != ""
	})
	t.Logf("stranger: %s", refusal(stranger))
	t.Logf("s1: %s", refusal(c.nodes["s1"]))
	stays.echo("with a stranger", patience)
	if stranger.ready() {
		t.Error("the stranger says that it is ready")
	}

	c.killAtOnce("s2")
	rest := []*node{c.nodes["s1"], c.nodes["r1"]}
	took := waitRows(t, rest, "s2", before.Version, patience)
	after, err := c.nodes["r1"].ring()
	if err != nil || after.owned("s9") > 0 || after.owned("s1") != partitions || slices.Contains(after.Voters, "s9") {
		t.Errorf("s1 owns %d, the stranger %d; voters %v, %v", after.owned("s1"), after.owned("s9"), after.Voters, err)
	}
	moves.echo("moved", patience)
	stays.echo("stayed", patience)
	t.Logf("s2 killed beside the stranger: it owns nothing after %s", millis(took))
	for _, n := range []*node{stranger, c.nodes["s1"], c.nodes["r1"]} {
		if lines := complaints(t, n); len(lines) > tooOften(12, began) {
			t.Errorf("%s complains %d times", n.id, len(lines))
		}
	}
}
