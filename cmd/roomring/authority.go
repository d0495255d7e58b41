package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// authority is who the certificates of a cluster come from: ca.pem and ca-key.pem. It is made once and
// never overwritten, for every node trusts it.
type authority struct {
	path        pemFiles
	certificate *x509.Certificate
	key         crypto.Signer
}

const (
	authorityYears = 10

	// skew is how much earlier than now certificates are valid: the clocks of machines differ.
	skew = time.Hour
)

// openAuthority reads the authority in dir, or makes one if none is there.
func openAuthority(dir string, now time.Time) (a *authority, made bool, err error) {
	path := pemIn(dir, authorityName)
	read, err := readPair(path)
	if errors.Is(err, fs.ErrNotExist) {
		a, err = makeAuthority(path, now)
		return a, err == nil, err
	}
	if err != nil {
		return nil, false, err
	}
	signer, ok := read.PrivateKey.(crypto.Signer)
	switch {
	case !read.Leaf.IsCA || !ok:
		return nil, false, fmt.Errorf("%s is not an authority: no certificate can come from it", path.cert)
	case now.After(read.Leaf.NotAfter):
		return nil, false, fmt.Errorf("%s ended on %s: move it and %s away to begin with a new authority, which every node needs then", path.cert, day(read.Leaf.NotAfter), path.key)
	}
	return &authority{path, read.Leaf, signer}, false, nil
}

func makeAuthority(path pemFiles, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial,
		// A name of its own: two authorities of one name are hard to tell apart in a browser or a log.
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Roomring authority %x", serial.Bytes()[:4])},
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	certificate, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path.cert), 0o755); err != nil {
		return nil, err
	}
	// The key first: without it nobody can have used the certificate, should we end between the two.
	if err := writeNew(path.key, 0o600, pemKey(key)); err != nil {
		return nil, err
	}
	if err := writeNew(path.cert, 0o644, pemCertificate(certificate)); err != nil {
		return nil, errors.Join(err, os.Remove(path.key))
	}
	return &authority{path, certificate, key}, nil
}

// issue makes a certificate and its key, over those that are there.
func (a *authority) issue(path pemFiles, hosts []string, now time.Time, days int) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	end := now.AddDate(0, 0, days)
	if end.After(a.certificate.NotAfter) {
		end = a.certificate.NotAfter // it would not be believed any longer
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: now.Add(-skew), NotAfter: end, BasicConstraintsValid: true,
		// A node both dials links and accepts them.
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	certificate, err := sign(template, a.certificate, key, a.key)
	if err != nil {
		return nil, err
	}
	if err := replace(path.key, 0o600, pemKey(key)); err != nil {
		return nil, err
	}
	return certificate, replace(path.cert, 0o644, pemCertificate(certificate))
}

// judge says what is wrong with a certificate, as what its file does.
func judge(leaf *x509.Certificate, roots *x509.CertPool, hosts []string, now time.Time) error {
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("ended on %s", day(leaf.NotAfter))
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}})
		if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
			return errors.New("is not of the authority beside it")
		} else if err != nil {
			return fmt.Errorf("will not do: %w", err)
		}
	}
	for _, host := range hosts {
		if leaf.VerifyHostname(strings.Replace(host, "*", "any", 1)) != nil {
			return fmt.Errorf("is not for %s, but for %s", host, strings.Join(hostsOf(leaf), ", "))
		}
	}
	return nil
}

// hostsOf are all that a certificate is valid for.
func hostsOf(leaf *x509.Certificate) (hosts []string) {
	hosts = append(hosts, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

// readPair reads a certificate and its key, which belong together. When neither is there the error is
// fs.ErrNotExist; when one of them is, it is not.
func readPair(path pemFiles) (*tls.Certificate, error) {
	cert, errCert := os.ReadFile(path.cert)
	key, errKey := os.ReadFile(path.key)
	missing := func(err error) bool { return errors.Is(err, fs.ErrNotExist) }
	switch {
	case missing(errCert) && missing(errKey):
		return nil, fs.ErrNotExist
	case missing(errCert):
		return nil, fmt.Errorf("%s is missing, and its key is there", path.cert)
	case missing(errKey):
		return nil, fmt.Errorf("%s is missing: nothing can be done with %s alone", path.key, path.cert)
	case errCert != nil:
		return nil, errCert
	case errKey != nil:
		return nil, errKey
	}
	read, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and its key: %w", path.cert, err)
	}
	return &read, nil
}

// readRoots reads the authorities that a node is given as --link-ca.
func readRoots(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", path)
	}
	return roots, nil
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, by crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// newSerial is 120 random bits with the highest one set, so that it always has its 15 bytes.
func newSerial() *big.Int {
	b := make([]byte, 15)
	rand.Read(b) // never fails
	b[0] |= 0x80
	return new(big.Int).SetBytes(b)
}

func pemCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func pemKey(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(fmt.Sprintf("a new key of P-256 has no bytes: %v", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, mode fs.FileMode, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// replace writes a file anew. Who reads it meanwhile reads the old one or the new one, whole.
func replace(path string, mode fs.FileMode, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// parseHost takes an IP address or the name of a host, which may begin with *. for all names below it.
func parseHost(text string) (string, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	mistyped := strings.Contains(text, ".") && strings.Trim(text, "0123456789.") == "" // such as 10.0.0.256
	if !mistyped && hostName(strings.TrimPrefix(text, "*.")) {
		return text, nil
	}
	return "", fmt.Errorf("%q: want a host name or an IP address, without a port", text)
}

// Longest names, see RFC 1035.
const maxHost, maxLabel = 253, 63

// hostName tells whether text is words of letters, digits and - with dots between them, as host names
// and IPv4 addresses are. Such a text is fit for the name of a file, too.
func hostName(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > maxLabel || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(text) <= maxHost
}
