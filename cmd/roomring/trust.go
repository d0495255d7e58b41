package main

import (
	"crypto/tls"
	"fmt"
)

// trusting is whose certificate a command believes that opens wss:// URLs.
type trusting struct {
	CA       string `name:"ca" placeholder:"FILE" help:"Authority (PEM) that signed the certificate of a wss:// URL (default: those that this machine trusts)."`
	Insecure bool   `name:"insecure" help:"Take any certificate of a wss:// URL."`
}

// config returns nil where this machine's authorities judge.
func (t *trusting) config() (*tls.Config, error) {
	switch {
	case t.Insecure && t.CA != "":
		return nil, fmt.Errorf("--insecure takes any certificate, --ca does not: give one of them")
	case t.Insecure:
		return &tls.Config{InsecureSkipVerify: true}, nil
	case t.CA == "":
		return nil, nil
	}
	roots, err := readRoots(t.CA)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	return &tls.Config{RootCAs: roots}, nil
}
