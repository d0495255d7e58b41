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
)

// TLS is mutual TLS 1.3 between nodes. The authority is the cluster's own: who
// holds a certificate of it is a node. Names in certificates are not compared,
// because nodes dial the addresses that gossip tells; who is who is settled by
// the hello.
type TLS struct {
	server, client *tls.Config
}

// LoadTLS reads a node's certificate, its key, and the authority that the other
// nodes' certificates must come from, all as PEM files.
func LoadTLS(certFile, keyFile, caFile string) (*TLS, error) {
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
	return NewTLS(cert, pool), nil
}

// NewTLS is LoadTLS for values in memory.
func NewTLS(cert tls.Certificate, authority *x509.CertPool) *TLS {
	base := tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}
	server := base.Clone()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, authority
	client := base.Clone()
	client.InsecureSkipVerify = true // the name only: VerifyConnection checks the chain
	client.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, authority) }
	return &TLS{server: server, client: client}
}

func verifyChain(s tls.ConnectionState, authority *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: authority, Intermediates: between})
	return err
}

// wrap does the TLS handshake; a nil TLS leaves the conn as it is.
func (t *TLS) wrap(ctx context.Context, c net.Conn, dialer bool) (net.Conn, error) {
	if t == nil {
		return c, nil
	}
	var s *tls.Conn
	if dialer {
		s = tls.Client(c, t.client)
	} else {
		s = tls.Server(c, t.server)
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
