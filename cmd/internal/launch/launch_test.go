package launch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/settings"
	"github.com/roomring/roomring/link"
)

func load(t *testing.T, args ...string) *settings.Router {
	t.Helper()
	s, err := settings.LoadRouter(settings.Program{}, args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEverySettingArrives fails when a Config keeps a zero where the operator said something.
func TestEverySettingArrives(t *testing.T) {
	s := load(t, "--id=r1", "--zone=east", "--cluster=c", "--link=127.0.0.1:1", "--gossip=127.0.0.1:2", "--admin=127.0.0.1:3", "--join=a:1",
		"--advertise=localhost", "--data-dir="+t.TempDir(), "--cluster-key="+settings.NewKey(), "--admin-token=0123456789abcdef", "--admin-read-token=fedcba9876543210",
		"--max-message=1KiB", "--max-conns=2", "--max-conns-per-ip=3", "--accepts-per-ip=4", "--memory-limit=1GiB", "--window=1MiB",
		"--drain-time=5s", "--drain-delay=1s", "--allow-origin=*", "--trusted-proxies=10.0.0.1", "--proxy-protocol", "--api-key=0123456789abcdef")
	common, err := Common(&s.Node, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	noZeros(t, common, "BootstrapExpect", "Followers", "DrainTime", "LinkTLS", "Partitions", "VersionMin", "VersionMax", "Net", "Membership")
	noZeros(t, RouterConfig(s), "Self", "Lanes", "Partitions", "HandshakeTime", "JoinTime", "PingEvery", "PongTime", "CloseTime",
		"TLS", "Pages", "LocalHost", "Control", "NeedTable", "Portable", "Logger")
	h, err := settings.LoadShard(settings.Program{}, []string{"--memory-limit=1GiB"})
	if err != nil {
		t.Fatal(err)
	}
	noZeros(t, ShardConfig(h), "Self", "Lanes", "Partitions", "MaxMessage", "Wish", "Control", "NeedTable", "Portable", "Logger")
}

// noZeros wants every field but those that no flag sets.
func noZeros(t *testing.T, config any, but ...string) {
	t.Helper()
	unset := map[string]bool{}
	for _, name := range but {
		unset[name] = true
	}
	v := reflect.ValueOf(config)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !unset[name] {
			t.Errorf("%T.%s is zero", config, name)
		}
	}
}

func TestDrainTimeOfZeroIsAtOnce(t *testing.T) {
	if got := RouterConfig(load(t, "--drain-time=0s")).DrainTime; got >= 0 {
		t.Errorf("drain time = %s: zero would be the default", got)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, certFile, keyFile, 1)
	c, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := serial(t, c); got != 1 {
		t.Errorf("serial %d, want 1", got)
	}
	writePair(t, certFile, keyFile, 2)
	if err := c.Reload(); err != nil || serial(t, c) != 2 {
		t.Errorf("after a reload: serial %d, %v", serial(t, c), err)
	}
	if err := os.WriteFile(certFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err == nil || serial(t, c) != 2 {
		t.Errorf("a broken file replaced the certificate: serial %d, %v", serial(t, c), err)
	}
	if c, err := LoadCertificate("", ""); c != nil || err != nil {
		t.Errorf("no files: %v %v", c, err)
	}
}

// TestSignalReloadsAllCertificates: a broken certificate for clients does not keep the one for links
// from being read again, and both outcomes are told.
func TestSignalReloadsAllCertificates(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	linkCert, linkKey := filepath.Join(dir, "link.pem"), filepath.Join(dir, "link-key.pem")
	writePair(t, certFile, keyFile, 1)
	writePair(t, linkCert, linkKey, 1)
	clients, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	links, err := link.LoadTLS(linkCert, linkKey, linkCert)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	ctx, end := context.WithCancel(t.Context())
	heard, ended := make(chan os.Signal), make(chan struct{})
	certificates := &Certificates{Clients: clients, Links: links}
	go func() {
		defer close(ended)
		certificates.Follow(ctx, heard, func(read func()) { read() }, zap.New(core))
	}()
	if err := os.WriteFile(certFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	heard <- syscall.SIGHUP
	heard <- syscall.SIGHUP // is taken once the first has been carried out
	end()
	<-ended
	for of, reloaded := range map[string]bool{"clients": false, "links": true} {
		mine := logs.FilterField(zap.String("of", of))
		if good, bad := mine.FilterMessage("certificate reloaded").Len(), mine.FilterMessage("certificate not reloaded").Len(); (good > 0) != reloaded || (bad > 0) == reloaded {
			t.Errorf("%s: %d times reloaded, %d times not", of, good, bad)
		}
	}
	if serial(t, clients) != 1 {
		t.Error("a broken file replaced the certificate")
	}
	(&Certificates{}).Reload(zap.NewNop()) // has none, and does not mind
}

func serial(t *testing.T, c *Certificate) int64 {
	t.Helper()
	pair, err := c.TLS().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert.SerialNumber.Int64()
}

func writePair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
