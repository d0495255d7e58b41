package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

// certified runs cert in a directory at some time.
func certified(t *testing.T, dir string, now time.Time, c certCommand, name string, hosts ...string) (stdout, stderr string, err error) {
	t.Helper()
	c.Dir, c.Name, c.Hosts = dir, name, hosts
	if c.Days == 0 {
		c.Days = 365
	}
	all, err := c.check()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	err = c.certify(&world{ctx: t.Context(), stdout: &out, stderr: &errs}, all, now)
	return out.String(), errs.String(), err
}

// files are all files below dir, with what is in them.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

func TestCert(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	out, errs, code := command(t.Context(), "cert", "--dir", dir, "s1", "10.0.0.7", "s1.internal", "::1", "10.0.0.7")
	if code != process.Good || errs != "" || !strings.Contains(out, "new authority") || !strings.Contains(out, "for s1, 10.0.0.7, s1.internal, ::1;") {
		t.Fatalf("code %d, %s\n%s", code, errs, out)
	}
	first := files(t, dir)
	if len(first) != 4 || strings.Contains(first["s1.pem"]+first["ca.pem"], "PRIVATE") {
		t.Errorf("files %v", first)
	}
	for name, mode := range map[string]fs.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600, "s1.pem": 0o644, "s1-key.pem": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, mode)
		}
	}
	if out, errs, code := command(t.Context(), "cert", "--dir", dir, "s2"); code != process.Good || errs != "" || strings.Contains(out, "authority") {
		t.Errorf("a second one: code %d, %s\n%s", code, errs, out)
	}
	out, errs, code = command(t.Context(), "cert", "--dir", dir, "s1", "10.0.0.7")
	if code != process.Good || errs != "" || !strings.HasPrefix(out, "kept ") {
		t.Errorf("again: code %d, %s\n%s", code, errs, out)
	}
	out, errs, code = command(t.Context(), "cert", "--dir", dir, "--renew", "s1")
	if code != process.Good || errs != "" || !strings.Contains(out, "for s1, s1.internal, 10.0.0.7, ::1;") {
		t.Errorf("renewed: code %d, %s\n%s", code, errs, out)
	}
	last := files(t, dir)
	if len(last) != 6 {
		t.Errorf("%d files are left", len(last))
	}
	for name, text := range last {
		was, there := first[name]
		if renewed := name == "s1.pem" || name == "s1-key.pem"; there && renewed == (was == text) {
			t.Errorf("%s: new %v", name, was != text)
		}
	}
}

// TestCertKeepsNothingBad has on disk what is of no use any more: it is told, and stays.
func TestCertKeepsNothingBad(t *testing.T) {
	now := time.Now()
	move := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		later time.Duration
		want  string
		hosts []string
	}{
		"ended":            {nil, 366 * 24 * time.Hour, "s1.pem ended on", nil},
		"another name":     {nil, 0, "s1.pem is not for elsewhere, but for s1, 10.0.0.7: --renew makes a new one", []string{"10.0.0.7", "elsewhere"}},
		"another address":  {nil, 0, "is not for 10.0.0.8", []string{"10.0.0.8"}},
		"no key":           {move("s1-key.pem", "old"), 0, "s1-key.pem is missing", nil},
		"no certificate":   {move("s1.pem", "old"), 0, "s1.pem is missing, and its key is there", nil},
		"another's key":    {move("ca-key.pem", "s1-key.pem"), 0, "does not match", nil},
		"no authority":     {move("ca.pem", "old"), 0, "ca.pem", nil},
		"other authority":  {func(t *testing.T, dir string) { swapAuthority(t, dir) }, 0, "is not of the authority beside it", nil},
		"no certificate 2": {move("ca-key.pem", "ca.pem"), 0, "no certificate in", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, _, err := certified(t, dir, now, certCommand{}, "s1", "10.0.0.7"); err != nil {
				t.Fatal(err)
			}
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			before := files(t, dir)
			out, _, err := certified(t, dir, now.Add(c.later), certCommand{}, "s1", c.hosts...)
			if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
				t.Errorf("%v\n%s", err, out)
			}
			for file, text := range files(t, dir) {
				if before[file] != text {
					t.Errorf("%s was changed", file)
				}
			}
		})
	}
}

func swapAuthority(t *testing.T, dir string) {
	t.Helper()
	other := t.TempDir()
	if _, _, err := certified(t, other, time.Now(), certCommand{}, "x"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		if err := os.Rename(filepath.Join(other, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertNeverReplacesAnAuthority: half of one, or one that is over, is told and stays.
func TestCertNeverReplacesAnAuthority(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		gone  string
		later time.Duration
		name  string
		want  string
	}{
		"its key is elsewhere": {"ca-key.pem", 0, "s2", "ca-key.pem is missing"},
		"its key alone":        {"ca.pem", 0, "s2", "ca.pem is missing"},
		"over":                 {"", 11 * 365 * 24 * time.Hour, "s2", "ca.pem ended on"},
		"over, renewed":        {"", 11 * 365 * 24 * time.Hour, "s1", "ca.pem ended on"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, _, err := certified(t, dir, now, certCommand{}, "s1"); err != nil {
				t.Fatal(err)
			}
			if c.gone != "" {
				if err := os.Remove(filepath.Join(dir, c.gone)); err != nil {
					t.Fatal(err)
				}
			}
			before := files(t, dir)
			_, _, err := certified(t, dir, now.Add(c.later), certCommand{Renew: true}, c.name)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			after := files(t, dir)
			if len(after) != len(before) || after["ca.pem"] != before["ca.pem"] || after["ca-key.pem"] != before["ca-key.pem"] {
				t.Error("files were changed")
			}
		})
	}
	path := pemIn(t.TempDir(), authorityName)
	for range 2 {
		if _, err := makeAuthority(path, now); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
	}
	if err := writeNew(path.key, 0o600, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a key: %v", err)
	}
	if _, err := readPair(path); err != nil {
		t.Errorf("what two made at once: %v", err)
	}
}

func TestCertEnds(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if _, _, err := certified(t, dir, now, certCommand{Days: 40}, "s1"); err != nil {
		t.Fatal(err)
	}
	for later, want := range map[int]string{5: "", 12: " ends on " + day(now.AddDate(0, 0, 40)) + ": --renew makes a new one"} {
		if _, errs, err := certified(t, dir, now.AddDate(0, 0, later), certCommand{}, "s1"); err != nil || (errs == "") != (want == "") || !strings.Contains(errs, want) {
			t.Errorf("after %d days: %v, %q", later, err, errs)
		}
	}
	late := now.AddDate(authorityYears, 0, -7)
	if _, _, err := certified(t, dir, late, certCommand{Renew: true}, "s1"); err != nil {
		t.Fatal(err)
	}
	a, _, err := openAuthority(dir, late)
	if err != nil {
		t.Fatal(err)
	}
	if read, err := readPair(pemIn(dir, "s1")); err != nil || !read.Leaf.NotAfter.Equal(a.certificate.NotAfter) {
		t.Errorf("it outlives its authority: %v", err)
	}
}

func TestCertMisuse(t *testing.T) {
	for _, args := range []string{"cert", "cert ca", "cert CA", "cert s1-key", "cert a/b", "cert ../x", "cert .", "cert *.example.com", "cert ::1",
		"cert s1 --days=0", "cert s1 --days=3651", "cert s1 10.0.0.7:7400", "cert s1 10.0.0.256", "cert s1 ws://x", "cert s1 a..b", "cert s1 -x-",
		"cert s1 fe80::1%eth0", "cert s1 " + strings.Repeat("a", 64), "cert s1" + strings.Repeat(" x", 101)} {
		dir := t.TempDir()
		_, errs, code := command(t.Context(), append(strings.Fields(args), "--dir", dir)...)
		if code != process.Misuse || !strings.HasPrefix(errs, "roomring: ") {
			t.Errorf("%s: code %d, %q", args, code, errs)
		}
		if len(files(t, dir)) > 0 {
			t.Errorf("%s: made files", args)
		}
	}
}

// TestCertLinks has two nodes link with certificates that the command made.
func TestCertLinks(t *testing.T) {
	ours, theirs, past := t.TempDir(), t.TempDir(), t.TempDir()
	long := time.Now().AddDate(-2, 0, 0)
	for _, c := range []struct {
		dir, name string
		at        time.Time
	}{{ours, "r1", time.Now()}, {ours, "s1", time.Now()}, {theirs, "s1", time.Now()}, {past, "s1", long}} {
		if _, _, err := certified(t, c.dir, c.at, certCommand{}, c.name, "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	load := func(dir, name, ca string) *link.TLS {
		path := pemIn(dir, name)
		l, err := link.LoadTLS(path.cert, path.key, filepath.Join(ca, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	fine := load(ours, "r1", ours)
	for name, c := range map[string]struct {
		dialer, acceptor *link.TLS
		up               bool
	}{
		"up":                           {fine, load(ours, "s1", ours), true},
		"the other way":                {load(ours, "s1", ours), fine, true},
		"who accepts is of others":     {fine, load(theirs, "s1", ours), false},
		"who dials is of others":       {load(theirs, "s1", ours), fine, false},
		"who accepts is over its time": {load(past, "s1", past), load(past, "s1", past), false},
	} {
		if err := linked(t, c.dialer, c.acceptor); (err == nil) != c.up {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// linked opens one link over a real socket.
func linked(t *testing.T, dialer, acceptor *link.TLS) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	router := link.Config{Self: proto.MakeNodeName("r1", 1), Role: proto.RoleRouter, Lanes: 1, TLS: dialer}
	shard := link.Config{Self: proto.MakeNodeName("s1", 1), Role: proto.RoleShard, Lanes: 1, TLS: acceptor}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, _, err = link.Accept(t.Context(), c, shard)
		}
		accepted <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = link.Open(t.Context(), c, router, shard.Self, 0)
	c.Close()
	return errors.Join(err, <-accepted)
}

// TestCertServes has a client trust ca.pem, and ask a server by the names that it was given.
func TestCertServes(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := certified(t, dir, time.Now(), certCommand{}, "gateway", "127.0.0.1", "*.example.com"); err != nil {
		t.Fatal(err)
	}
	path := pemIn(dir, "gateway")
	cert, err := tls.LoadX509KeyPair(path.cert, path.key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not like it are what is tested
	server.StartTLS()
	defer server.Close()
	roots, err := readRoots(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, fine := range map[string]bool{"127.0.0.1": true, "gateway": true, "ws.example.com": true, "example.com": false, "gateway2": false} {
		c, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name})
		if err == nil {
			c.Close()
		}
		if (err == nil) != fine {
			t.Errorf("asked as %s: %v", name, err)
		}
	}
	if read, err := readPair(path); err != nil || !slices.Equal(read.Leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("usages: %v", err)
	}
}
