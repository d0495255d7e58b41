// Package inspector is the page at / of every node's admin port: static files
// that ask nothing of anybody but the port they come from.
package inspector

import _ "embed"

//go:embed index.html
var index []byte

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

// Files returns the page. They are no secret: what it shows is asked for with
// a token, where one is needed.
func Files() []File {
	return []File{{"/", "text/html; charset=utf-8", index}}
}
