// Package page is the web page of roomring dev: three static files that ask nothing of anybody but
// the routers they come from.
package page

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

//go:embed index.html
var index string

//go:embed app.js
var script string

//go:embed app.css
var style string

// File is one file of the page, ready to be sent.
type File struct {
	Path   string // "/", "/app.js", "/app.css"
	Type   string // Content-Type
	Policy string // Content-Security-Policy
	Body   []byte
}

// Files returns the page for routers on these ports of this machine. What acts on shards is at the
// control port.
func Files(control int, ports ...int) []File {
	words := make([]string, len(ports))
	for i, port := range ports {
		words[i] = strconv.Itoa(port)
	}
	policy := policyFor(control, ports)
	return []File{
		{"/", "text/html; charset=utf-8", policy, []byte(strings.NewReplacer("PORTS", strings.Join(words, " "), "CONTROL", strconv.Itoa(control)).Replace(index))},
		{"/app.js", "text/javascript; charset=utf-8", policy, []byte(script)},
		{"/app.css", "text/css; charset=utf-8", policy, []byte(style)},
	}
}

// hosts are the names under which a browser on this machine finds the routers.
var hosts = []string{"127.0.0.1", "localhost"}

// policyFor lets the page load its own files and talk to the routers and to the control port, nothing else.
func policyFor(control int, ports []int) string {
	var sockets []string
	for _, host := range hosts {
		sockets = append(sockets, fmt.Sprintf("http://%s:%d", host, control))
		for _, port := range ports {
			sockets = append(sockets, fmt.Sprintf("ws://%s:%d", host, port))
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src " + strings.Join(sockets, " ") +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// Origins returns the origins that the page may have: routers let them in, so that a page from one
// router can talk to another.
func Origins(ports ...int) []string {
	var origins []string
	for _, host := range hosts {
		for _, port := range ports {
			origins = append(origins, fmt.Sprintf("http://%s:%d", host, port))
		}
	}
	return origins
}
