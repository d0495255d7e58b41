package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// TLS is mutual TLS 1.3 between nodes. What is checked, by both sides alike: the
// other's certificate leads to the authority, is valid now, and may be used for
// its end of the connection (an extended key usage of clientAuth for who dials,
// serverAuth for who accepts, or none; a node does both). Sessions are never
// resumed, so each connection is judged anew.
//
// The authority is the cluster's own: any certificate of it is a node, under
// every name. Names in certificates are not compared, because nodes dial the
// addresses that gossip tells; who is who is said in the hello. Nor is there
// revocation: who should be out is so once the authority is another one, or the
// certificate has run out.
type TLS struct {
	read func() (*credentials, error)
	now  atomic.Pointer[credentials]
	mu   sync.Mutex // held by Reload, so that what was read first is not put last
}

// credentials is a certificate and an authority that belong together.
type credentials struct {
	server, client *tls.Config
}

// LoadTLS reads a node's certificate, its key, and the authority that the other
// nodes' certificates must come from, all as PEM files. Reload reads them again.
func LoadTLS(certFile, keyFile, caFile string) (*TLS, error) {
	t := &TLS{read: func() (*credentials, error) { return readCredentials(certFile, keyFile, caFile) }}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// NewTLS is LoadTLS for values in memory; its Reload has nothing to do. Without
// an authority nobody is trusted.
func NewTLS(cert tls.Certificate, authority *x509.CertPool) *TLS {
	c := newCredentials(cert, authority)
	t := &TLS{read: func() (*credentials, error) { return c, nil }}
	t.now.Store(c)
	return t
}

// Reload reads certificate, key and authority again. New connections use all of
// the new ones, or on an error all of the old ones; open connections stay as
// they are. It may be called from any goroutine.
func (t *TLS) Reload() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.read()
	if err != nil {
		return err
	}
	t.now.Store(c)
	return nil
}

func readCredentials(certFile, keyFile, caFile string) (*credentials, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load link certificate: %w", err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("load link authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load link authority: no certificate in %s", caFile)
	}
	return newCredentials(cert, pool), nil
}

func newCredentials(cert tls.Certificate, authority *x509.CertPool) *credentials {
	if authority == nil {
		authority = x509.NewCertPool() // a nil one would be the authorities of the whole world
	}
	base := tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}
	server := base.Clone()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, authority
	client := base.Clone()
	client.InsecureSkipVerify = true // the name only: VerifyConnection checks the rest
	client.VerifyConnection = func(s tls.ConnectionState) error { return verifyAcceptor(s, authority) }
	return &credentials{server: server, client: client}
}

// verifyAcceptor does what package tls does for a dialer, but for the name.
func verifyAcceptor(s tls.ConnectionState, authority *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: authority, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// wrap does the TLS handshake; a nil TLS leaves the conn as it is.
func (t *TLS) wrap(ctx context.Context, c net.Conn, dialer bool) (net.Conn, error) {
	if t == nil {
		return c, nil
	}
	var s *tls.Conn
	if now := t.now.Load(); dialer {
		s = tls.Client(c, now.client)
	} else {
		s = tls.Server(c, now.server)
	}
	err := s.HandshakeContext(ctx)
	if err == nil {
		return s, nil
	}
	if r := refusalOf(err); r.Reason == ReasonSlow {
		return c, r
	}
	if h := (tls.RecordHeaderError{}); !dialer && errors.As(err, &h) && h.Conn != nil {
		r := refuse(ReasonTLS, "this link port wants TLS and the dialer speaks plain TCP")
		c.Write(AppendRefuse(nil, r))     // in plain, or it would not understand
		io.CopyN(io.Discard, c, maxHello) // unread bytes would turn our close into a reset
		return c, r
	}
	return c, refuse(ReasonTLS, "TLS handshake: %s (does one side lack --link-cert, or is it of another --link-ca?)", printable([]byte(err.Error())))
}
