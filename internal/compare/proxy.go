//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// proxy is what a proxy has to know. It hashes the room consistently, as one would who wants all members
// of a room on one server, and has one worker, since there is one core.
type proxy struct {
	dir    string // for its files
	port   int
	behind [2]int // ports of the bare loops
	conns  int    // of clients, that it must be able to hold
	root   bool   // root starts it: nginx must be told to stay root, for its files are in our directory
}

// nginx renders the settings for nginx 1.18 or newer. What is not said is as nginx has it.
func (p proxy) nginx() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if p.root {
		line("user root;")
	}
	line("daemon off;")
	line("worker_processes 1;")
	line("pid %s;", p.quoted("nginx.pid"))
	line("error_log stderr;")
	// Two per client, and enough more: once 15 of 16 are in use it resets clients that have not asked yet.
	line("events { worker_connections %d; }", 200+p.conns*5/2)
	line("http {")
	line("  access_log off;")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		line("  %s_temp_path %s;", kind, p.quoted(kind))
	}
	line("  upstream loops { hash $arg_room consistent; server %s; server %s; }", loopback(p.behind[0]), loopback(p.behind[1]))
	line("  server {")
	line("    listen %s backlog=4096;", loopback(p.port))
	line("    location / {")
	line("      proxy_pass http://loops;")
	line("      proxy_http_version 1.1;")
	line("      proxy_set_header Upgrade $http_upgrade;")
	line("      proxy_set_header Connection upgrade;")
	line("      proxy_read_timeout 1h;")
	line("      proxy_send_timeout 1h;")
	line("    }")
	line("  }")
	line("}")
	return b.String()
}

func (p proxy) quoted(name string) string { return `"` + filepath.Join(p.dir, name) + `"` }

// nginxArgs are nginx's flags: its settings, and where to complain before it has read them.
func nginxArgs(dir string) []string {
	return []string{"-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")}
}

// haproxy renders the settings for HAProxy 2.2 or newer.
func (p proxy) haproxy() string {
	return fmt.Sprintf(`global
  maxconn %d
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend clients
  bind %s backlog 4096
  default_backend loops
backend loops
  balance url_param room
  hash-type consistent
  server loop1 %s
  server loop2 %s
`, p.conns+10, loopback(p.port), loopback(p.behind[0]), loopback(p.behind[1]))
}
