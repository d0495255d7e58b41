//go:build linux

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// balancing is one of the files under deploy that stand a proxy before routers, and what is true of it.
type balancing struct {
	title string                                            // of the test
	file  string                                            // under deploy
	run   func(b *balancer) *exec.Cmd                       // that proxy, in the foreground
	again syscall.Signal                                    // has it read its file again
	flags func(b *balancer) []string                        // of the routers behind it
	adapt func(b *balancer, behind []string) []substitution // addresses and paths
	http  bool                                              // it knows what a handshake is, and tries it again
	away  func(b *balancer, router int, away bool)          // takes a router out before it is drained, or puts it back
	waits []substitution                                    // of its times: see TestBalancerIdle
}

// substitution is what the test has to change in a file.
type substitution struct{ old, new string }

var balancings = []*balancing{
	{title: "nginx http", file: "nginx/http.conf", run: runNginx, again: syscall.SIGHUP, flags: behindHTTP, adapt: adaptNginx, http: true,
		waits: []substitution{{"proxy_read_timeout 75s", "proxy_read_timeout %ds"}, {"proxy_send_timeout 75s", "proxy_send_timeout %ds"}}},
	{title: "nginx stream", file: "nginx/stream.conf", run: runNginx, again: syscall.SIGHUP, flags: behindNginxStream, adapt: adaptNginx, away: (*balancer).markDown,
		waits: []substitution{{"proxy_timeout 75s", "proxy_timeout %ds"}}},
	{title: "haproxy http", file: "haproxy/http.cfg", run: runHAProxy, again: syscall.SIGUSR2, flags: behindHTTP, adapt: adaptHAProxy, http: true,
		waits: []substitution{{"timeout tunnel 75s", "timeout tunnel %ds"}}},
	{title: "haproxy tcp", file: "haproxy/tcp.cfg", run: runHAProxy, again: syscall.SIGUSR2, flags: behindHAProxyTCP, adapt: adaptHAProxy,
		waits: []substitution{{"timeout tunnel 75s", "timeout tunnel %ds"}}},
	{title: "nginx stream, TLS at routers", file: "nginx/stream.conf", run: runNginx, again: syscall.SIGHUP, flags: behindPlain, adapt: adaptPlain, away: (*balancer).markDown,
		waits: []substitution{{"proxy_timeout 75s", "proxy_timeout %ds"}}},
}

// behindHTTP are the flags of a router that is told by headers whose request it is.
func behindHTTP(*balancer) []string { return []string{"--trusted-proxies", "127.0.0.1/32"} }

// behindTCP are those of one that is told by a PROXY header.
func behindTCP(*balancer) []string {
	return []string{"--trusted-proxies", "127.0.0.1/32", "--proxy-protocol"}
}

// behindHAProxyTCP: HAProxy must have asked how a router is before that refuses anybody.
func behindHAProxyTCP(b *balancer) []string { return append(behindTCP(b), "--drain-delay", "2s") }

// behindNginxStream: that header says nothing of TLS, so what pages may connect has to be said.
func behindNginxStream(b *balancer) []string {
	return append(behindTCP(b), "--allow-origin", "https://"+b.address)
}

// behindPlain: TLS goes through to the routers.
func behindPlain(b *balancer) []string {
	return append(behindTCP(b), "--tls-cert", b.cert, "--tls-key", b.key)
}

func runNginx(b *balancer) *exec.Cmd {
	return exec.Command("nginx", "-c", b.path, "-e", filepath.Join(b.dir, "error.log"), "-g", "daemon off;")
}

func runHAProxy(b *balancer) *exec.Cmd { return exec.Command("haproxy", "-W", "-f", b.path) }

func adaptNginx(b *balancer, behind []string) []substitution {
	return []substitution{
		{"listen 443 ", "listen " + b.address + " "}, {"listen [::]:443 ", fmt.Sprintf("listen 127.0.0.2:%d ", b.port)},
		{"/etc/nginx/tls/roomring.pem", b.cert}, {"/etc/nginx/tls/roomring-key.pem", b.key},
		{"/run/nginx.pid", filepath.Join(b.dir, "nginx.pid")}, {"/var/log/nginx/", b.dir + "/"},
		{"10.0.0.5:8000", behind[0]}, {"10.0.0.6:8000", behind[1]},
	}
}

// adaptPlain takes TLS out, as README says.
func adaptPlain(b *balancer, behind []string) []substitution {
	return append(adaptNginx(b, behind), substitution{" ssl reuseport", " reuseport"}, substitution{"\n        ssl_", "\n        # ssl_"})
}

func adaptHAProxy(b *balancer, behind []string) []substitution {
	return []substitution{
		{"bind :443 ", "bind " + b.address + " "}, {"bind [::]:443 v6only ", fmt.Sprintf("bind 127.0.0.2:%d ", b.port)},
		{"/etc/haproxy/tls/roomring.pem", b.both}, {"/run/haproxy/", b.dir + "/"},
		{"10.0.0.5:8000", behind[0]}, {"10.0.0.6:8000", behind[1]},
	}
}

// balancer is a proxy that runs one of the files.
type balancer struct {
	*process
	*balancing
	t       *testing.T
	dir     string
	path    string // of its copy of the file
	address string
	port    int
	behind  []string

	cert, key, both string // files
	roots           *x509.CertPool
}

// newBalancer makes a copy of a file, with addresses and paths of the test, for two routers.
func newBalancer(t *testing.T, kind *balancing, port int, behind ...string) *balancer {
	t.Helper()
	dir, err := os.MkdirTemp("", "balancer-") // short: a socket goes here
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // workers are somebody else
		t.Fatal(err)
	}
	b := &balancer{balancing: kind, t: t, dir: dir, port: port, address: fmt.Sprintf("127.0.0.1:%d", port), behind: behind}
	b.path = filepath.Join(dir, filepath.Base(kind.file))
	b.makeCertificate()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", kind.file))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	b.substitute(kind.adapt(b, behind)...)
	return b
}

// substitute changes the copy. What is not there cannot be changed.
func (b *balancer) substitute(list ...substitution) {
	b.t.Helper()
	text, err := os.ReadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	all := string(text)
	for _, s := range list {
		if !strings.Contains(all, s.old) {
			b.t.Fatalf("%s does not contain %q", b.file, s.old)
		}
		all = strings.ReplaceAll(all, s.old, s.new)
	}
	if err := os.WriteFile(b.path, []byte(all), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// makeCertificate makes an authority, and a certificate of it for 127.0.0.1.
func (b *balancer) makeCertificate() {
	b.t.Helper()
	must := func(err error) {
		if err != nil {
			b.t.Fatal(err)
		}
	}
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	above := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	ca, err := x509.CreateCertificate(rand.Reader, above, above, authority.Public(), authority)
	must(err)
	cert, err := x509.CreateCertificate(rand.Reader, leaf, above, key.Public(), authority)
	must(err)
	secretPart, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	write := func(name string, blocks ...[]byte) string {
		path := filepath.Join(b.dir, name)
		must(os.WriteFile(path, slices.Concat(blocks...), 0o600))
		return path
	}
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secretPart})
	caText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})
	b.cert, b.key, b.both = write("cert.pem", certText), write("key.pem", keyText), write("both.pem", certText, keyText)
	write("ca.pem", caText)
	b.roots = x509.NewCertPool()
	b.roots.AppendCertsFromPEM(caText)
}

// ca is the file of who signed the balancer's certificate.
func (b *balancer) ca() string { return filepath.Join(b.dir, "ca.pem") }

// trust has clients of b take what clients of another one take.
func (b *balancer) trust(other *balancer) {
	b.t.Helper()
	text, err := os.ReadFile(other.ca())
	if err != nil {
		b.t.Fatal(err)
	}
	b.roots.AppendCertsFromPEM(text)
}

// start starts the proxy, in a namespace of process ids: what it starts ends with it, however it ends.
func (b *balancer) start() {
	b.t.Helper()
	b.process = startCommandWith(b.t, b.title, b.run(b), syscall.CLONE_NEWPID)
	b.waitOpen()
	b.t.Cleanup(func() {
		if b.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(b.dir, "error.log"))
			b.t.Logf("%s: %s\n%s", b.title, tail(string(text), 20), tail(b.out.String(), 20))
		}
	})
}

func (b *balancer) waitOpen() {
	b.t.Helper()
	eventually(b.t, b.title+" takes TLS", patience, func() bool {
		if b.ended() {
			b.t.Fatalf("%s ended: %s", b.title, tail(b.log.String(), 20))
		}
		conn, err := tls.Dial("tcp", b.address, b.client())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// client is how clients speak TLS with it. Two of the same config resume sessions.
func (b *balancer) client() *tls.Config {
	return &tls.Config{RootCAs: b.roots, ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}}
}

// reload has the proxy read its file again, and waits until new workers are there and the old ones of
// nginx take no clients any more, which is a moment later.
func (b *balancer) reload() {
	b.t.Helper()
	before, asked := b.workers(), time.Time{}
	eventually(b.t, b.title+" has new workers", patience, func() bool {
		if time.Since(asked) > 2*time.Second { // HAProxy that has just been started loses the signal
			b.signal(b.again)
			asked = time.Now()
		}
		return slices.ContainsFunc(b.workers(), func(pid int) bool { return !slices.Contains(before, pid) })
	})
	eventually(b.t, b.title+" has no old workers at its port", patience, func() bool {
		return b.again != syscall.SIGHUP || !slices.ContainsFunc(before, takesClients)
	})
	b.waitOpen()
}

// takesClients says whether a worker of nginx is not about to end.
func takesClients(pid int) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(title) > 0 && !strings.Contains(string(title), "shutting down")
}

// workers are the ids of the processes that the proxy started.
func (b *balancer) workers() (list []int) {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", b.cmd.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// resident is what all workers have in memory and share with nobody, in bytes.
func (b *balancer) resident() (sum int64) {
	b.t.Helper()
	for _, pid := range b.workers() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			b.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if name, rest, ok := strings.Cut(line, ":"); ok && (name == "Private_Dirty" || name == "Private_Clean") {
				kilobytes, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kilobytes << 10
			}
		}
	}
	return sum
}

// markDown takes a router out of nginx's file, or puts it back.
func (b *balancer) markDown(router int, away bool) {
	b.t.Helper()
	up, down := fmt.Sprintf("server %s max_fails=3 fail_timeout=5s;", b.behind[router]), fmt.Sprintf("server %s max_fails=3 fail_timeout=5s down;", b.behind[router])
	if away {
		b.substitute(substitution{up, down})
	} else {
		b.substitute(substitution{down, up})
	}
	b.reload()
}
