package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/roomring/roomring/admin/inspector"
	"github.com/roomring/roomring/proto"
)

// route is one path, or all paths one segment below it.
type route struct {
	methods []string // as Allow tells them
	params  []string // of the query
	loose   bool     // parameters that are not in params are passed over, not refused
	open    bool     // no token is asked for
	full    bool     // the read token is not enough
	serve   func(w http.ResponseWriter, r *http.Request) error
}

// reading is the methods of a question.
var reading = []string{http.MethodGet, http.MethodHead}

// writing is the method of a change.
var writing = []string{http.MethodPost}

// roomPrefix is followed by a percent-encoded room name.
const roomPrefix = "/v1/rooms/"

// table is the routes by their path; one that ends in a name in braces stands
// for any segment there.
func (s *Server) table() map[string]*route {
	routes := map[string]*route{
		"/v1/ring":                  {methods: reading, params: []string{"table"}, loose: true, serve: s.ring},
		"/v1/nodes":                 {methods: reading, serve: s.nodes},
		"/v1/rooms":                 {methods: reading, params: []string{"prefix", "after", "limit", "sort"}, serve: s.rooms},
		"/v1/room":                  {methods: reading, params: []string{"room"}, loose: true, serve: s.roomByQuery},
		roomPrefix + "{room}":       {methods: reading, loose: true, serve: s.roomByPath},
		"/v1/ring/plan":             {methods: reading, params: []string{"add", "remove"}, serve: s.plan},
		"/v1/events":                {methods: reading, params: []string{"only"}, serve: s.events},
		"/v1/tail":                  {methods: reading, params: []string{"room", "payload"}, serve: s.tail},
		"/v1/drain":                 {methods: writing, full: true, serve: s.drainNode},
		"/v1/forget":                {methods: writing, loose: true, full: true, serve: s.forgetNode},
		"/v1/recover":               {methods: writing, loose: true, full: true, serve: s.recoverCluster},
		"/metrics":                  {methods: reading, loose: true, serve: s.metrics()},
		"/healthz":                  {methods: reading, loose: true, open: true, serve: s.health},
		"/readyz":                   {methods: reading, loose: true, open: true, serve: s.ready},
		profilePrefix:               {methods: reading, loose: true, full: true, serve: profileIndex},
		profilePrefix + "{profile}": {methods: reading, params: []string{"seconds", "debug", "gc"}, loose: true, full: true, serve: profileIndex},
		profilePrefix + "profile":   {methods: reading, params: []string{"seconds"}, loose: true, full: true, serve: profileCPU},
		profilePrefix + "trace":     {methods: reading, params: []string{"seconds"}, loose: true, full: true, serve: profileTrace},
	}
	for _, f := range inspector.Files() {
		routes[f.Path] = &route{methods: reading, loose: true, open: true, serve: page(f)}
	}
	return routes
}

// below is the routes that stand for any segment, by what comes before it.
func below(routes map[string]*route) map[string]*route {
	prefixes := map[string]*route{}
	for path, r := range routes {
		if i := strings.IndexByte(path, '{'); i >= 0 {
			prefixes[path[:i]] = r
		}
	}
	return prefixes
}

// find is the route of an escaped path, nil when there is none. Such a path has
// no braces.
func (s *Server) find(path string) *route {
	if r := s.routes[path]; r != nil {
		return r
	}
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return s.below[path[:i+1]]
	}
	return nil
}

var (
	errPath     = &Refusal{http.StatusNotFound, "not_found", "no such path"}
	errMethod   = &Refusal{http.StatusMethodNotAllowed, "method_not_allowed", "the path does not take this method"}
	errBody     = &Refusal{http.StatusRequestEntityTooLarge, "body_too_large", "the request's body is too large"}
	errInternal = &Refusal{http.StatusInternalServerError, "internal", "the node could not answer; its log has more"}
	errSlow     = &Refusal{http.StatusServiceUnavailable, proto.Unavailable.String(), "no answer in time"}
)

// serve is every request's way: headers, guards, route, answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w}
	s.stats.Requests.Add(1)
	noteServed(r)
	defer s.contain(a, r)
	secure(w.Header())
	route, f := s.admit(w, r)
	if f != nil {
		s.stats.Refused[reasonOf(f)].Add(1)
		writeRefusal(a, f)
		return
	}
	if f := s.explain(r, route.serve(a, r)); f != nil {
		writeRefusal(a, f)
	} else if a.status >= http.StatusBadRequest && !route.open {
		s.stats.Refused[reasonOfStatus(a.status)].Add(1) // by a handler that is not ours
	}
}

// answer notes its status, 0 until it has begun: from then on it cannot become
// another one.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// secure sets what keeps an answer from being kept, sniffed, framed or read by
// another site.
func secure(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
}

// admit finds the route of a request that may be answered. Without a token one
// does not learn which paths there are.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (*route, *Refusal) {
	if f := s.guard.place(r); f != nil {
		return nil, f
	}
	route := s.find(r.URL.EscapedPath())
	may := accessFull
	if route == nil || !route.open {
		may = s.guard.access(r)
	}
	switch {
	case may == accessNone:
		w.Header().Set("WWW-Authenticate", `Bearer realm="roomring"`)
		return nil, errToken
	case route == nil:
		return nil, errPath
	case !slices.Contains(route.methods, r.Method):
		w.Header().Set("Allow", strings.Join(route.methods, ", "))
		return nil, errMethod
	case may == accessRead && (route.full || !slices.Contains(reading, r.Method)):
		return nil, errAccess
	case r.ContentLength > MaxBody:
		return nil, errBody
	}
	if f := route.understands(r); f != nil {
		return nil, f
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	return route, nil
}

// explain makes an error of a route an answer, and counts it, unless the asker
// is gone or the server stops; nil stays nil.
func (s *Server) explain(r *http.Request, err error) *Refusal {
	if err == nil {
		return nil
	}
	f := s.translate(r, err)
	if r.Context().Err() == nil {
		s.stats.refuse(r, f)
	}
	return f
}

// translate makes an error an answer; what the asker cannot mend goes to the
// log.
func (s *Server) translate(r *http.Request, err error) *Refusal {
	var f *Refusal
	var p *proto.Error
	var size *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &size):
		return errBody
	case errors.As(err, &p) && codeStatus[p.Code] != 0:
		return &Refusal{codeStatus[p.Code], p.Code.String(), codeMessage[p.Code]}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errSlow
	}
	s.log.Warn("admin request failed", zap.String("path", r.URL.Path), zap.Error(err))
	return errInternal
}

// codeStatus and codeMessage are how a far node's refusal is told; its detail
// stays in that node's log. Other codes are our own fault.
var codeStatus = map[proto.Code]int{
	proto.BadRoom:     http.StatusBadRequest,
	proto.NotFound:    http.StatusNotFound,
	proto.Full:        http.StatusServiceUnavailable,
	proto.Unavailable: http.StatusServiceUnavailable,
}

var codeMessage = map[proto.Code]string{
	proto.BadRoom:     "the room's name is not allowed",
	proto.NotFound:    "no such room",
	proto.Full:        "the node that knows has too much to do",
	proto.Unavailable: "the node that knows did not answer in time",
}

// contain answers 500 for a panic. An answer that has begun is cut off, so that
// nobody takes it for a whole one. The node lives.
func (s *Server) contain(a *answer, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.Error("admin request panicked", zap.String("path", r.URL.Path), zap.Any("panic", p), zap.Stack("stack"))
	s.stats.Panics.Add(1)
	s.stats.Refused[refusedInternal].Add(1)
	if a.status != 0 {
		panic(http.ErrAbortHandler)
	}
	writeRefusal(a, errInternal)
}

func (s *Server) ring(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	withTable := true
	switch v := q["table"]; {
	case len(v) == 0, len(v) == 1 && v[0] == "1":
	case len(v) == 1 && v[0] == "0":
		withTable = false
	default:
		return &Refusal{http.StatusBadRequest, "bad_request", "table: want 0 or 1, once"}
	}
	writeJSON(w, http.StatusOK, s.config.Source.Ring(withTable))
	return nil
}

func (s *Server) roomByQuery(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	if len(q["room"]) != 1 {
		return &Refusal{http.StatusBadRequest, "bad_room", "want room=NAME, once"}
	}
	return s.room(w, r, q["room"][0])
}

// roomByPath takes the name from the escaped path, so that it may have slashes
// and dots in it.
func (s *Server) roomByPath(w http.ResponseWriter, r *http.Request) error {
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), roomPrefix))
	if err != nil {
		return &Refusal{http.StatusBadRequest, "bad_request", "the path is not percent-encoded"}
	}
	return s.room(w, r, name)
}

func (s *Server) room(w http.ResponseWriter, r *http.Request, name string) error {
	if err := proto.CheckRoom(name); err != nil {
		return &Refusal{http.StatusBadRequest, "bad_room", err.Error()}
	}
	ctx, cancel := context.WithTimeout(r.Context(), RoomTimeout)
	defer cancel()
	d, err := s.config.Source.Room(ctx, name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, d.filled())
	return nil
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	ok, reason := s.config.Source.Health()
	writeJSON(w, healthStatus(ok), healthDocument{ok, reason})
	return nil
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) error {
	ok, reasons := s.config.Source.Ready()
	writeJSON(w, healthStatus(ok), readyDocument{ok, append([]string{}, reasons...), sentences(reasons)})
	return nil
}

func healthStatus(ok bool) int {
	if ok {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}
