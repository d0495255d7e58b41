// Package page is the web page of roomring dev: static files that ask nothing of anybody but the routers
// they come from and the control port of dev (package demo). There is no build step.
//
// Read index.html (the page's parts and its words), then app.js, which says where to go on.
package page

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/roomring/roomring/admin/inspector"
)

//go:embed *.html *.css *.js
var tree embed.FS

// shared are the files of the inspector with which the page draws its ring.
var shared = []string{"/ring.js", "/ring.css", "/state.js", "/stream.js"}

// types are the kinds of file there are, by the end of their names.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// File is one file of the page, ready to be sent.
type File struct {
	Path   string // "/", "/app.js"
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
	fill := strings.NewReplacer("PORTS", strings.Join(words, " "), "CONTROL", strconv.Itoa(control))
	policy := policyFor(control, ports)
	var files []File
	entries, err := tree.ReadDir(".")
	if err != nil {
		panic(err) // the pattern above found files
	}
	for _, e := range entries {
		body, err := tree.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		if e.Name() == "index.html" {
			body = []byte(fill.Replace(string(body)))
		}
		files = append(files, File{"/" + strings.TrimSuffix(e.Name(), "index.html"), types[path.Ext(e.Name())], policy, body})
	}
	for _, f := range inspector.Files() {
		if slices.Contains(shared, f.Path) {
			files = append(files, File{f.Path, f.Type, policy, f.Body})
		}
	}
	return files
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
