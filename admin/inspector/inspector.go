// Package inspector is the page at / of every node's admin port: static files
// that ask nothing of anybody but the port they come from. There is no build
// step: what is embedded is what was written.
//
// Read index.html (the page's parts and its words), inspector.js (who listens
// to what), stream.js (server-sent events by fetch), state.js and ring.js (the
// cluster as a value, and as a picture; the page of roomring dev draws with
// them too), then what each tab does: nodes.js, rooms.js, plan.js, feed.js.
package inspector

import (
	"embed"
	"path"
	"strings"
)

//go:embed *.html *.css *.js
var tree embed.FS

// Policy is the Content-Security-Policy of all files: the page's own scripts,
// styles and questions, nothing else, and nothing inline.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// File is one file of the page, ready to be sent.
type File struct {
	Path string // "/", "/inspector.js"
	Type string // Content-Type
	Body []byte // not to be changed
}

// types are the kinds of file there are, by the end of their names.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// files is read once: embedded files cannot fail to be read, and every
// request shares their bytes.
var files = load()

// Files returns the page. They are no secret: what it shows is asked for with
// a token, where one is needed.
func Files() []File { return append([]File(nil), files...) }

func load() []File {
	entries, err := tree.ReadDir(".")
	if err != nil {
		panic(err) // the pattern above found files
	}
	var list []File
	for _, e := range entries {
		body, err := tree.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		at := "/" + strings.TrimSuffix(e.Name(), "index.html")
		list = append(list, File{at, types[path.Ext(e.Name())], body})
	}
	return list
}
