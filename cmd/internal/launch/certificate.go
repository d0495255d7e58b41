package launch

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// Certificate is the certificate for clients. It can be replaced while conns are served: those that
// are open keep the old one.
type Certificate struct {
	cert, key string // files
	current   atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate and its key from PEM files. Without files it returns nil.
func LoadCertificate(cert, key string) (*Certificate, error) {
	if cert == "" {
		return nil, nil
	}
	c := &Certificate{cert: cert, key: key}
	return c, c.Reload()
}

// Reload reads the files again. When that fails, the old certificate stays in use.
func (c *Certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// TLS returns the configuration for a listener.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // WebSockets here are upgraded from it
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
