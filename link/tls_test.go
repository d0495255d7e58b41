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
func (a *authority) issue(edits ...func(*x509.Certificate)) ([]byte, *ecdsa.PrivateKey) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := certTemplate("node")
	for _, edit := range edits {
		edit(tmpl)
	}
	return must(x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)), key
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// tls is what a node with a certificate of this authority uses.
func (a *authority) tls(edits ...func(*x509.Certificate)) *TLS {
	der, key := a.issue(edits...)
	return NewTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, a.pool())
}

func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newAuthority(t), newAuthority(t)
		stranger := theirs.tls()
		lax := *stranger.now.Load() // it trusts us; we must not trust it
		lax.client, lax.server = lax.client.Clone(), lax.server.Clone()
		lax.client.VerifyConnection, lax.server.ClientAuth = nil, tls.NoClientCert
		stranger.now.Store(&lax)
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

// TestCertificate: what each side wants of the other's certificate. It is the
// same for both, but for the usage; the name is anything.
func TestCertificate(t *testing.T) {
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	for _, c := range []struct {
		name           string
		edit           func(*x509.Certificate)
		dials, accepts bool // fit for
	}{
		{"both usages", func(*x509.Certificate) {}, true, true},
		{"any usage", usage(), true, true},
		{"another name", func(c *x509.Certificate) { c.DNSNames = []string{"elsewhere.example"} }, true, true},
		{"client only", usage(x509.ExtKeyUsageClientAuth), true, false},
		{"server only", usage(x509.ExtKeyUsageServerAuth), false, true},
		{"code signing only", usage(x509.ExtKeyUsageCodeSigning), false, false},
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, false, false},
		{"not valid yet", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newAuthority(t)
				check := func(what string, dialer, acceptor *TLS, fit bool) {
					t.Helper()
					d, a := routerConfig(), shardConfig()
					d.TLS, a.TLS = dialer, acceptor
					do, ao := converseMem(t, d, a)
					if fit && (do.err != nil || ao.err != nil) {
						t.Errorf("%s: %v and %v", what, do.err, ao.err)
					}
					if !fit {
						wantReason(t, what, do.err, ReasonTLS)
						wantReason(t, what, ao.err, ReasonTLS)
					}
				}
				check("dials", ca.tls(c.edit), ca.tls(), c.dials)
				check("accepts", ca.tls(), ca.tls(c.edit), c.accepts)
			})
		})
	}
}

// TestTLSStrict: no older TLS, no certificate of its own making, and no trust
// where no authority was given.
func TestTLSStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		old := ca.tls()
		lax := *old.now.Load()
		lax.client, lax.server = lax.client.Clone(), lax.server.Clone()
		lax.client.MinVersion, lax.client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		lax.server.MinVersion, lax.server.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		old.now.Store(&lax)
		der, key := ca.issue()
		trusting := NewTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil)
		if pool := trusting.now.Load(); pool.server.ClientCAs == nil {
			t.Error("without an authority that of the system counts")
		}
		for name, other := range map[string]*TLS{"tls 1.2": old, "no authority": trusting} {
			for _, way := range [][2]*TLS{{other, ca.tls()}, {ca.tls(), other}} {
				d, a := routerConfig(), shardConfig()
				d.TLS, a.TLS = way[0], way[1]
				do, ao := converseMem(t, d, a)
				wantReason(t, name, do.err, ReasonTLS)
				wantReason(t, name, ao.err, ReasonTLS)
			}
		}
	})
}

// files is a certificate, its key and an authority on disk.
type files struct{ cert, key, ca string }

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	return files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
}

func (f files) load() (*TLS, error) { return LoadTLS(f.cert, f.key, f.ca) }

// write has a node be certified by one authority and trust some.
func (f files) write(t *testing.T, by *authority, trusted ...*authority) {
	der, key := by.issue()
	var pool []byte
	for _, a := range trusted {
		pool = append(pool, pemOf("CERTIFICATE", a.cert.Raw)...)
	}
	for name, b := range map[string][]byte{
		f.cert: pemOf("CERTIFICATE", der),
		f.key:  pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key))),
		f.ca:   pool,
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func pemOf(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

// TestReload: two nodes move to a new authority step by step, as an operator
// does it: trust both, then be certified by the new one, then trust that alone.
// Links never end, and new ones come up at each step.
func TestReload(t *testing.T) {
	rf, sf := newFiles(t), newFiles(t)
	synctest.Test(t, func(t *testing.T) {
		old, young := newAuthority(t), newAuthority(t)
		rf.write(t, old, old)
		sf.write(t, old, old)
		d, a := routerConfig(), shardConfig()
		d.TLS, a.TLS = must(rf.load()), must(sf.load())
		n := memnet.New()
		r, s := launch(t, n, ipR, d, 1), launch(t, n, ipS, a, 1)
		r.mesh.Want([]Target{s.target()})
		await(t, time.Second, "linked", func() bool { return r.links() == 1 && s.links() == 1 })
		fate := func() Fate { return r.mesh.Probe(t.Context(), s1, s.addr) }
		step := func(what string, t1 *TLS, f files, by *authority, want Fate, trusted ...*authority) {
			t.Helper()
			f.write(t, by, trusted...)
			if err := t1.Reload(); err != nil {
				t.Fatal(err)
			}
			if got := fate(); got != want {
				t.Errorf("%s: %s", what, got)
			}
		}
		step("router trusts both", d.TLS, rf, old, FateAlive, old, young)
		step("shard trusts both", a.TLS, sf, old, FateAlive, old, young)
		step("router has a new one", d.TLS, rf, young, FateAlive, old, young)
		step("shard has a new one", a.TLS, sf, young, FateAlive, old, young)
		step("router trusts the new one", d.TLS, rf, young, FateAlive, young)
		step("shard trusts the old one again", a.TLS, sf, old, FateUnknown, old)
		if d := append(r.downs(), s.downs()...); len(d) > 0 {
			t.Errorf("links ended: %v", d)
		}
		step("shard is back", a.TLS, sf, young, FateAlive, young)
		n.Break(ipR, ipS)
		synctest.Wait()
		await(t, time.Second, "linked again", func() bool { return r.links() == 1 && s.links() == 1 })
	})
}

// TestReloadFails: files that make no sense change nothing, not even by half.
func TestReloadFails(t *testing.T) {
	f := newFiles(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	f.write(t, ours, ours)
	x := must(f.load())
	before := x.now.Load()
	spoil := map[string]func(){
		"key of another certificate": func() {
			_, key := theirs.issue()
			os.WriteFile(f.key, pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key))), 0o600)
		},
		"no authority":   func() { os.WriteFile(f.ca, []byte("none\n"), 0o600) },
		"no certificate": func() { os.Remove(f.cert) },
		"half a certificate": func() {
			b := must(os.ReadFile(f.cert))
			os.WriteFile(f.cert, b[:len(b)/2], 0o600)
		},
	}
	for name, do := range spoil {
		f.write(t, theirs, theirs)
		do()
		if err := x.Reload(); err == nil || x.now.Load() != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.write(t, theirs, theirs)
	if err := x.Reload(); err != nil || x.now.Load() == before {
		t.Errorf("good again: %v", err)
	}
	if err := ours.tls().Reload(); err != nil {
		t.Errorf("nothing to read: %v", err)
	}
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
