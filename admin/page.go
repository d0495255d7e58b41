package admin

import (
	"net/http"
	"strconv"

	"github.com/roomring/roomring/admin/inspector"
)

// page sends one file of the inspector, to everybody: what it shows is asked for
// with a token. It is not kept by browsers (secure says no-store): the files are
// small, and a page must never meet a script of another build.
func page(f inspector.File) func(http.ResponseWriter, *http.Request) error {
	length := strconv.Itoa(len(f.Body))
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h.Set("Content-Type", f.Type)
		h.Set("Content-Length", length)
		h.Set("Content-Security-Policy", inspector.Policy)
		w.Write(f.Body)
		return nil
	}
}
