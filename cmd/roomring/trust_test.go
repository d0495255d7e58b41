package main

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/cmd/internal/process"
)

// TestTrust asks a server with a certificate of an authority of its own. It speaks no WebSocket: how far
// a command gets is in its complaint.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := certified(t, dir, time.Now(), certCommand{}, "gateway", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	path := pemIn(dir, "gateway")
	cert, err := tls.LoadX509KeyPair(path.cert, path.key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not like it are what is tested
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	defer server.Close()
	url := "wss" + strings.TrimPrefix(server.URL, "https") + "/"

	ca := filepath.Join(dir, "ca.pem")
	for _, c := range []struct {
		flags string
		code  int
		says  string
	}{
		{"", process.Failed, "failed to verify certificate"},
		{"--insecure", process.Failed, "404"},
		{"--ca=" + ca, process.Failed, "404"},
		{"--ca=" + path.key, process.Misuse, "no certificate in"},
		{"--ca=" + filepath.Join(dir, "none"), process.Misuse, "--ca: open"},
		{"--insecure --ca=" + ca, process.Misuse, "give one of them"},
	} {
		for _, args := range []string{"bench idle --rooms=1 --members=2 --for=10ms --url=" + url + "{room}", "verify --rooms=1 --members=2 --for=10ms --url=" + url} {
			args := append(strings.Fields(args), strings.Fields(c.flags)...)
			if out, errs, code := command(t.Context(), args...); code != c.code || !strings.Contains(out+errs, c.says) {
				t.Errorf("%v: code %d, want %d and %q: %s%s", args, code, c.code, c.says, out, errs)
			}
		}
	}
}
