package demo

import (
	"net/http"
	"time"

	"github.com/roomring/roomring/admin"
)

var (
	errNobody  = &admin.Refusal{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: "no router tells what happens: try again"}
	errStreams = &admin.Refusal{Status: http.StatusServiceUnavailable, Code: "too_many", Message: "too many pages listen: close one"}
)

// events passes on what a router's admin port tells of the cluster, as it comes, until either side ends
// it. The router is asked by us, not by the page: pages of other origins than its own may not.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		return errStreams
	}
	told, err := s.listen(r)
	if err != nil {
		return errNobody
	}
	defer told.Body.Close()
	if told.StatusCode != http.StatusOK {
		return errNobody
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // that of the request is not for the stream
	pass(control, w, told)
	return nil
}

func (s *Server) listen(r *http.Request) (*http.Response, error) {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+s.cluster.Admin()+"/v1/events", nil)
	if err != nil {
		return nil, err
	}
	return s.client.Do(ask)
}

// pass copies a stream. A page that does not take what it is told for as long as an answer may take is
// given up; silence is no reason.
func pass(control *http.ResponseController, w http.ResponseWriter, told *http.Response) {
	buf := make([]byte, 32<<10)
	for {
		// The head goes out at once: the page then knows that it is heard.
		_ = control.SetWriteDeadline(time.Now().Add(admin.WriteTimeout))
		if control.Flush() != nil {
			return
		}
		n, err := told.Body.Read(buf)
		_ = control.SetWriteDeadline(time.Now().Add(admin.WriteTimeout))
		if _, failed := w.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}
