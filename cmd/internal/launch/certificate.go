package launch

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/roomring/roomring/link"
)

// Certificates is what a node can read again while it runs. The zero value has none.
type Certificates struct {
	Clients *Certificate // of --tls-cert; nil without
	Links   *link.TLS    // of --link-cert; nil without

	secrets   []secret // files of keys and tokens
	fixedKeys string   // why the cluster keys are not among them; "" if they are
}

// Follow reads certificates, keys and tokens again whenever heard has a value, until ctx ends. Without any it does
// nothing then: what tells all nodes to read their certificates must not kill one. The reading is done
// inside around, which may tell somebody when it begins and ends.
func (c *Certificates) Follow(ctx context.Context, heard <-chan os.Signal, around func(read func()), log *zap.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-heard:
		}
		around(func() { c.Reload(log) })
	}
}

// Reload reads certificates, keys and tokens again. One that cannot be read stays as it is, and keeps no
// other back.
func (c *Certificates) Reload(log *zap.Logger) {
	reload := func(of string, read func() error) {
		if err := read(); err != nil {
			log.Error("certificate not reloaded", zap.String("of", of), zap.Error(err))
			return
		}
		log.Info("certificate reloaded", zap.String("of", of))
	}
	if c.Clients != nil {
		reload("clients", c.Clients.Reload)
	}
	if c.Links != nil {
		reload("links", c.Links.Reload)
	}
	c.reloadSecrets(log)
}

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
