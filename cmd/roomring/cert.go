package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type certCommand struct {
	Name  string   `arg:"" name:"name" help:"Whose certificate: a node's id, or the name of what clients connect to. The files are named after it."`
	Hosts []string `arg:"" optional:"" name:"host" help:"Further host names and IP addresses that it shall be valid for."`
	Dir   string   `name:"dir" placeholder:"DIR" default:"certs" help:"Where the files are, or shall be."`
	Days  int      `name:"days" placeholder:"N" default:"365" help:"How long a new certificate is valid."`
	Renew bool     `name:"renew" help:"Make the certificate and its key anew, for the same names if none are given. The authority stays."`
}

func (certCommand) Help() string {
	return `Certificates for the links between nodes, and for clients on a first day: those must be told to trust
ca.pem, while the world trusts a certificate of a public authority. What is made:

  DIR/ca.pem        the authority. Not secret: every node needs it, and who shall trust them.
  DIR/ca-key.pem    its key. Whoever has it can be a node: keep it off their machines. Never overwritten.
  DIR/NAME.pem      the certificate of NAME, not secret
  DIR/NAME-key.pem  its key, for NAME alone

What is there is kept, so the command may be run again and again.

  roomring cert s1
  roomring-shard --link-cert certs/s1.pem --link-key certs/s1-key.pem --link-ca certs/ca.pem
  roomring cert --dir /etc/roomring/certs gateway gateway.example.com 10.0.0.5
  roomring cert --renew s1 && kill -HUP PID

Exit code: 0 the certificate is there, valid now, of this authority and for all these names, 1 it is not, or
could not be made, 2 wrong use.`
}

// Bounds of what is asked for.
const (
	maxDays  = 3650
	maxHosts = 100
)

// soonOver is how long before its end a certificate that is kept is said to end soon.
const soonOver = 30 * 24 * time.Hour

// Run makes what is missing and says what there is.
func (c *certCommand) Run(w *world) error {
	hosts, err := c.check()
	if err != nil {
		return usage(err.Error())
	}
	return c.certify(w, hosts, time.Now())
}

// check returns all that the certificate shall be valid for, its name first.
func (c *certCommand) check() ([]string, error) {
	if _, err := parseHost(c.Name); err != nil || !hostName(c.Name) {
		return nil, fmt.Errorf("%q cannot be a name: want a node's id such as s1, or a host name", c.Name)
	}
	switch {
	case strings.EqualFold(c.Name, authorityName) || strings.HasSuffix(strings.ToLower(c.Name), keySuffix):
		return nil, fmt.Errorf("%q cannot be a name: its files would have the names of others", c.Name)
	case c.Days < 1 || c.Days > maxDays:
		return nil, fmt.Errorf("--days: %d is out of bounds: want 1 to %d", c.Days, maxDays)
	case len(c.Hosts) > maxHosts:
		return nil, fmt.Errorf("%d hosts, at most %d", len(c.Hosts), maxHosts)
	}
	hosts := []string{c.Name}
	for _, host := range c.Hosts {
		host, err := parseHost(host)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

// certify has the certificate there, valid and for all hosts, or says why not.
func (c *certCommand) certify(w *world, hosts []string, now time.Time) error {
	path := pemIn(c.Dir, c.Name)
	old, err := readPair(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case c.Renew && err == nil && len(c.Hosts) == 0:
		hosts = hostsOf(old.Leaf)
	case c.Renew: // what is there is of no use, or not wanted
	case err != nil:
		return fmt.Errorf("%w: --renew makes a new one", err)
	default:
		return c.keep(w, path, old.Leaf, hosts, now)
	}
	a, made, err := openAuthority(c.Dir, now)
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintf(w.stdout, "new authority    %s, until %s; its key %s is for your eyes alone\n", a.path.cert, day(a.certificate.NotAfter), a.path.key)
	}
	leaf, err := a.issue(path, hosts, now, c.Days)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "new certificate  %s, until %s, for %s; its key is %s\n", path.cert, day(leaf.NotAfter), strings.Join(hosts, ", "), path.key)
	return nil
}

// keep says that the certificate is there and that it will do, or why it will not.
func (c *certCommand) keep(w *world, path pemFiles, leaf *x509.Certificate, hosts []string, now time.Time) error {
	roots, err := readRoots(pemIn(c.Dir, authorityName).cert)
	if err != nil {
		return err
	}
	if err := judge(leaf, roots, hosts, now); err != nil {
		return fmt.Errorf("%s %w: --renew makes a new one", path.cert, err)
	}
	fmt.Fprintf(w.stdout, "kept             %s, until %s, for %s\n", path.cert, day(leaf.NotAfter), strings.Join(hostsOf(leaf), ", "))
	if leaf.NotAfter.Sub(now) < soonOver {
		fmt.Fprintf(w.stderr, "%s ends on %s: --renew makes a new one\n", path.cert, day(leaf.NotAfter))
	}
	return nil
}

// day words a date as everybody reads it.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// pemFiles is where a certificate and its key are.
type pemFiles struct{ cert, key string }

// Names of files. A name of a certificate must not end like that of a key.
const (
	authorityName = "ca"
	keySuffix     = "-key"
)

func pemIn(dir, name string) pemFiles {
	return pemFiles{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+keySuffix+".pem")}
}
