package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/proto"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	tmpl := certTemplate("authority")
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	a.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key))
	a.cert = must(x509.ParseCertificate(der))
	return a
}

func certTemplate(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
}

// issue returns a certificate and its key.
func (a *authority) issue() ([]byte, *ecdsa.PrivateKey) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return must(x509.CreateCertificate(rand.Reader, certTemplate("node"), a.cert, &key.PublicKey, a.key)), key
}

// tls is what a node with a certificate of this authority uses.
func (a *authority) tls() *TLS {
	der, key := a.issue()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return NewTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool)
}

func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newAuthority(t), newAuthority(t)
		stranger := theirs.tls()
		stranger.client = stranger.client.Clone()
		stranger.client.VerifyConnection = nil // it trusts us; we must not trust it
		stranger.server = stranger.server.Clone()
		stranger.server.ClientAuth = tls.NoClientCert
		for _, c := range []struct {
			name             string
			dialer, acceptor *TLS
			want             [2]Reason // dialer's, acceptor's
		}{
			{"both", ours.tls(), ours.tls(), [2]Reason{}},
			{"plain to tls", nil, ours.tls(), [2]Reason{ReasonTLS, ReasonTLS}},
			{"tls to plain", ours.tls(), nil, [2]Reason{ReasonTLS, ReasonGarbage}},
			{"other authorities", ours.tls(), theirs.tls(), [2]Reason{ReasonTLS, ReasonTLS}},
			{"a stranger answers", ours.tls(), stranger, [2]Reason{ReasonTLS, ReasonTLS}},
			{"a stranger dials", stranger, ours.tls(), [2]Reason{ReasonTLS, ReasonTLS}},
		} {
			d, a := routerConfig(), shardConfig()
			d.TLS, a.TLS = c.dialer, c.acceptor
			do, ao := converseMem(t, d, a)
			for i, err := range []error{do.err, ao.err} {
				if c.want[i] == ReasonNone && err != nil || c.want[i] != ReasonNone && (err == nil || refusalOf(err).Reason != c.want[i]) {
					t.Errorf("%s, side %d: %v, want %s", c.name, i, err, c.want[i])
				}
			}
		}
	})
}

// converseMem is converse over a buffered network, as TLS alerts need it.
func converseMem(t *testing.T, d, a Config) (dialer, acceptor outcome) {
	n := memnet.New()
	ln := must(n.Listen("10.0.0.2:7400"))
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, p, err := Accept(t.Context(), must(ln.Accept()), a)
		if err == nil {
			c.Close()
		}
		acceptor = outcome{p, err}
	}()
	c, p, err := Open(t.Context(), must(n.Host(ipR).DialContext(t.Context(), "10.0.0.2:7400")), d, s1, 0)
	<-done
	if err == nil {
		c.Close()
	}
	return outcome{p, err}, acceptor
}

// TestTLSMesh: frames flow through TLS, with a cluster key besides.
func TestTLSMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newAuthority(t)
		d, a := routerConfig(), shardConfig()
		d.TLS, a.TLS = ours.tls(), ours.tls()
		d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA}
		n := memnet.New()
		r, s := launch(t, n, ipR, d, 1), launch(t, n, ipS, a, 1)
		r.mesh.Want([]Target{s.target()})
		await(t, time.Second, "linked", func() bool { return r.links() == 1 && s.links() == 1 })
		r.lanes[0].on(func() {
			for _, l := range r.lanes[0].links {
				l.Data(func(b []byte) []byte { return appendNumbered(b, proto.FrameAttach, 7, 100_000) })
			}
		})
		synctest.Wait()
		s.lanes[0].on(func() {
			if len(s.lanes[0].heard) != 1 {
				t.Errorf("%d frames", len(s.lanes[0].heard))
			}
		})
	})
}

func TestLoadTLS(t *testing.T) {
	a := newAuthority(t)
	der, key := a.issue()
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert := write("cert.pem", "CERTIFICATE", der)
	private := write("key.pem", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key)))
	ca := write("ca.pem", "CERTIFICATE", a.cert.Raw)
	if _, err := LoadTLS(cert, private, ca); err != nil {
		t.Error(err)
	}
	if _, err := LoadTLS(cert, private, private); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a key as authority: %v", err)
	}
	if _, err := LoadTLS(ca, private, ca); err == nil {
		t.Error("a key that does not fit was accepted")
	}
}
