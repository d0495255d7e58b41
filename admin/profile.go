package admin

import (
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"
)

const profilePrefix = "/debug/pprof/"

// MaxProfile bounds how long a profile may be taken for: it slows the node.
const MaxProfile = 60 * time.Second

// The handlers of net/http/pprof but for cmdline: flags may be secrets. Its
// init puts them into http.DefaultServeMux too, which nothing here serves.
// symbol is for programs that are not Go's.

func profileIndex(w http.ResponseWriter, r *http.Request) error {
	return profile(w, r, pprof.Index)
}

func profileCPU(w http.ResponseWriter, r *http.Request) error {
	return profile(w, r, pprof.Profile)
}

func profileTrace(w http.ResponseWriter, r *http.Request) error {
	return profile(w, r, pprof.Trace)
}

// profile checks the duration. The handler itself moves the deadline of the
// answer by it.
func profile(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	if v := q.Get("seconds"); v != "" {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || !(n >= 0 && n <= MaxProfile.Seconds()) {
			return &Refusal{http.StatusBadRequest, "bad_request", "seconds: want 0 to " + strconv.Itoa(int(MaxProfile.Seconds()))}
		}
	}
	serve(w, r)
	return nil
}
