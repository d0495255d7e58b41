package balancers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/checks"
)

func TestFiles(t *testing.T) {
	for _, file := range files() {
		t.Run(file, func(t *testing.T) {
			c := copyOf(t, file)
			if out, err := c.read(t); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if wrong := c.judge(t); wrong != nil {
				t.Error(strings.Join(wrong, "\n"))
			}
		})
	}
}

// TestAllFilesHaveRules: what is put beside them is looked at too.
func TestAllFilesHaveRules(t *testing.T) {
	for _, dir := range []string{"nginx", "haproxy"} {
		found, err := filepath.Glob(filepath.Join(checks.Root(t), "deploy", dir, "*.c[of]*"))
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		for _, path := range found {
			if file := dir + "/" + filepath.Base(path); rules[file] == nil {
				t.Errorf("%s has no rules", file)
			}
		}
	}
}

// TestUnreadable breaks copies so that the program that reads them must say so.
func TestUnreadable(t *testing.T) {
	for _, test := range []struct{ file, old, broken, says string }{
		{"nginx/http.conf", "least_conn;", "least_conn", "least_conn"},
		{"nginx/http.conf", "least_conn;", "fewest_conn;", "unknown directive"},
		{"nginx/http.conf", "max_fails=0;", "max_fails=none;", "invalid parameter"},
		{"nginx/http.conf", "zone routers 128k;", "zone routers 4k;", "too small"},
		{"nginx/http.conf", "proxy_read_timeout 75s;", "proxy_read_timeout 75parsecs;", "invalid value"},
		{"nginx/http.conf", "TLSv1.2 TLSv1.3", "TLSv4", "invalid value"},
		{"nginx/http.conf", "http_503", "http_999", "invalid value"},
		{"nginx/http.conf", "location = /healthz {", "location = /healthz", "no opening"},
		{"nginx/http.conf", "$upgrade_or_close;", "$upgrade_or_clos;", "unknown"},
		{"nginx/http.conf", "roomring-key.pem", "nobody-key.pem", "No such file"},
		{"nginx/stream.conf", "proxy_protocol on;", "proxy_protocol v2;", "invalid value"},
		{"nginx/stream.conf", "proxy_pass routers;", "", "no handler"},
		{"nginx/stream.conf", "stream {\n", "events {\n", "duplicate"},
		{"nginx/stream.conf", "worker_processes auto;", "worker_processes many;", "invalid value"},
		{"nginx/stream.conf", "fail_timeout=5s;", "fail_timeout=5s", "unexpected"},
		{"haproxy/http.cfg", "balance leastconn", "balance fewest", "balance"},
		{"haproxy/http.cfg", "default_backend routers", "default_backend nobody", "nobody"},
		{"haproxy/http.cfg", "timeout tunnel 75s", "timeout tunnel 75parsecs", "timeout tunnel"},
		{"haproxy/http.cfg", "%HPO", "%HPX", "HPX"},
		{"haproxy/http.cfg", "error-status L7OKC", "error-status L7WELL", "L7WELL"},
		{"haproxy/http.cfg", "retry-on conn-failure 503", "retry-on bad-luck", "retry-on"},
		{"haproxy/http.cfg", "roomring.pem", "nobody.pem", "nobody.pem"},
		{"haproxy/http.cfg", "unless websocket", "unless telephone", "telephone"},
		{"haproxy/http.cfg", "server r2 10.0.0.6:8000", "server r1 10.0.0.6:8000", "r1"},
		{"haproxy/tcp.cfg", "mode tcp", "mode telnet", "telnet"},
		{"haproxy/tcp.cfg", "send-proxy-v2-ssl", "send-proxy-v9", "send-proxy-v9"},
		{"haproxy/tcp.cfg", "on-marked-down shutdown-sessions", "on-marked-down shrug", "shrug"},
		{"haproxy/tcp.cfg", "timeout connect 1s", "", "timeout"},
		{"haproxy/tcp.cfg", "ssl-min-ver TLSv1.2", "ssl-min-ver TLSv9", "TLSv9"},
	} {
		t.Run(test.file+" "+test.says, func(t *testing.T) {
			c := copyOf(t, test.file)
			checks.Broken(t, c.path, test.old, test.broken)
			if out, err := c.read(t); err == nil || !strings.Contains(out, test.says) {
				t.Errorf("%v, want an error about %q: %s", err, test.says, out)
			}
		})
	}
}

// TestWrong breaks copies so that the program still reads them, and our rules say what is wrong.
func TestWrong(t *testing.T) {
	for _, test := range []struct{ file, old, broken, says string }{
		{"nginx/http.conf", "least_conn;", "ip_hash;", "stick"},
		{"nginx/http.conf", "hash $publisher consistent;", "hash $remote_addr consistent;", "stick"},
		{"nginx/http.conf", "least_conn;", "", "emptiest"},
		{"nginx/http.conf", "proxy_read_timeout 75s;", "proxy_read_timeout 20s;", "not longer"},
		{"nginx/http.conf", "proxy_send_timeout 75s;", "proxy_send_timeout 60s;", "not longer"},
		{"nginx/http.conf", "proxy_next_upstream error timeout http_503;", "proxy_next_upstream error timeout;", "drains"},
		{"nginx/http.conf", "location = /healthz {", "location = /health {", "/healthz"},
		{"nginx/http.conf", "X-Forwarded-For $remote_addr;", "X-Forwarded-For $proxy_add_x_forwarded_for;", "own X-Forwarded-For"},
		{"nginx/http.conf", "Host $http_host;", "Host $host;", "port"},
		{"nginx/http.conf", "proxy_http_version 1.1;", "", "HTTP/1.1"},
		{"nginx/http.conf", "proxy_buffering off;", "proxy_buffering on;", "held back"},
		{"nginx/http.conf", "proxy_next_upstream error timeout;", "proxy_next_upstream error timeout non_idempotent;", "twice"},
		{"nginx/http.conf", "max_fails=0;", "max_fails=1;", "door"},
		{"nginx/http.conf", "$request_method $uri", "$request ", "token"},
		{"nginx/http.conf", "error.log crit;", "error.log;", "tokens"},
		{"nginx/http.conf", "return 404;", "proxy_pass http://routers;", "everything"},
		{"nginx/http.conf", "10.0.0.6:8000", "10.0.0.6:8001", "admin"},
		{"nginx/http.conf", "listen 443 ssl", "listen 443 ssl http2", "HTTP/2"},
		{"nginx/http.conf", "ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.2", "TLS"},
		{"nginx/stream.conf", "proxy_timeout 75s;", "proxy_timeout 24s;", "not longer"},
		{"nginx/stream.conf", "proxy_protocol on;", "proxy_protocol off;", "address"},
		{"nginx/stream.conf", "zone routers 128k;", "least_conn; zone routers 128k;", "drains"},
		{"nginx/stream.conf", "zone routers 128k;", "hash $remote_addr consistent; zone routers 128k;", "stick"},
		{"nginx/stream.conf", "worker_shutdown_timeout 12h;", "", "old workers"},
		{"haproxy/http.cfg", "balance leastconn", "balance source", "stick"},
		{"haproxy/http.cfg", "    balance leastconn", "    stick-table type ip size 1m\n    stick on src\n    balance leastconn", "stick"},
		{"haproxy/http.cfg", "timeout tunnel 75s", "timeout tunnel 20s", "not longer"},
		{"haproxy/http.cfg", "    option httpchk", "", "/healthz"},
		{"haproxy/http.cfg", "uri /healthz", "uri /", "/healthz"},
		{"haproxy/http.cfg", "ver HTTP/1.1 ", "", "HTTP/1.1"},
		{"haproxy/http.cfg", "http-check expect ! status 503 error-status L7OKC", "", "stay"},
		{"haproxy/http.cfg", "default-server check", "default-server", "checked"},
		{"haproxy/http.cfg", "set-header X-Forwarded-For", "add-header X-Forwarded-For", "own X-Forwarded-For"},
		{"haproxy/http.cfg", "    http-reuse never", "    option forwardfor", "kept"},
		{"haproxy/http.cfg", "retry-on conn-failure 503", "retry-on conn-failure empty-response 503", "twice"},
		{"haproxy/http.cfg", "response-timeout 503", "response-timeout", "drains"},
		{"haproxy/http.cfg", "alpn http/1.1", "alpn h2,http/1.1", "HTTP/2"},
		{"haproxy/http.cfg", "%HPO", "%HU", "token"},
		{"haproxy/tcp.cfg", " check-send-proxy", "", "PROXY header too"},
		{"haproxy/tcp.cfg", "send-proxy-v2-ssl", "send-proxy", "TLS are said"},
		{"haproxy/tcp.cfg", " on-marked-down shutdown-sessions", "", "dead"},
		{"haproxy/tcp.cfg", "timeout tunnel 75s", "timeout tunnel 25s", "not longer"},
		{"haproxy/tcp.cfg", " expose-fd listeners", "", "reload"},
	} {
		t.Run(test.file+" "+test.says, func(t *testing.T) {
			c := copyOf(t, test.file)
			checks.Broken(t, c.path, test.old, test.broken)
			if wrong := c.judge(t); !slices.ContainsFunc(wrong, func(why string) bool { return strings.Contains(why, test.says) }) {
				t.Errorf("%q, want one about %q", wrong, test.says)
			}
		})
	}
}

// copied is a copy of a file with paths that exist here, and ports that anybody may take.
type copied struct{ file, dir, path string }

func copyOf(t *testing.T, file string) *copied {
	t.Helper()
	dir := checks.Copy(t, filepath.Join("deploy", family(file)))
	return &copied{file, dir, filepath.Join(dir, filepath.Base(file))}
}

// judge asks our rules.
func (c *copied) judge(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	return check(c.file, string(text))
}

// read has the file's own program read it.
func (c *copied) read(t *testing.T) (string, error) {
	t.Helper()
	program := checks.Program(t, family(c.file))
	args := c.settle(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if strings.Contains(string(out), `unknown directive "stream"`) && flag.Lookup("require").Value.String() == "false" {
		t.Skip("nginx has no stream module: libnginx-mod-stream in Debian")
	}
	return string(out), err
}

// settle puts stand-ins where the copy wants files, and returns the program's flags.
func (c *copied) settle(t *testing.T) []string {
	t.Helper()
	cert, key := standIn(t)
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(pairs ...string) {
		if err := os.WriteFile(c.path, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if family(c.file) == "haproxy" {
		write("roomring.pem", append(cert, key...))
		replace("/etc/haproxy/tls", c.dir, "/run/haproxy", c.dir, "bind :443", "bind 127.0.0.1:25443", "bind [::]:443 v6only", "bind 127.0.0.2:25443")
		return []string{"-c", "-dW", "-f", c.path} // -dW: a warning is an error
	}
	write("roomring.pem", cert)
	write("roomring-key.pem", key)
	replace("/etc/nginx/tls", c.dir, "/run/nginx.pid", filepath.Join(c.dir, "pid"), "/var/log/nginx", c.dir,
		"listen 443", "listen 127.0.0.1:25443", "listen [::]:443", "listen 127.0.0.2:25443", "http {\n", "http {\n"+c.temporary())
	return []string{"-t", "-c", c.path, "-e", "stderr"}
}

// temporary are directories of nginx that only root may make where they are by default.
func (c *copied) temporary() (lines string) {
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		lines += fmt.Sprintf("    %s_temp_path %s;\n", kind, filepath.Join(c.dir, kind))
	}
	return lines
}

// standIn is a certificate of nobody and its key.
func standIn(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// TestStandIn: a program that reads anything would make all of the above worthless.
func TestStandIn(t *testing.T) {
	for _, file := range files() {
		c := copyOf(t, file)
		if err := os.WriteFile(c.path, []byte(fmt.Sprintln("hello")), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.read(t); err == nil {
			t.Errorf("%s: hello is read", file)
		}
		if wrong := c.judge(t); len(wrong) < 5 {
			t.Errorf("%s: hello breaks only %q", file, wrong)
		}
	}
}
