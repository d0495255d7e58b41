package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

// route is what a path does.
type route struct {
	acts  bool // POST, else GET
	serve func(http.ResponseWriter, *http.Request) error
}

func (s *Server) table() map[string]route {
	return map[string]route{
		"/state":      {serve: s.state},      // Document
		"/events":     {serve: s.events},     // /v1/events of a router
		"/partitions": {serve: s.partitions}, // where rooms live: ?room=R, several times
		"/kill":       {acts: true, serve: s.onShard(s.cluster.Kill)},
		"/drain":      {acts: true, serve: s.onShard(s.cluster.Drain)},
		"/restart":    {acts: true, serve: s.onShard(s.cluster.Restart)},
		"/add":        {acts: true, serve: s.add},
	}
}

var (
	errNotFound = &admin.Refusal{Status: http.StatusNotFound, Code: "not_found", Message: "there is nothing here"}
	errMethod   = &admin.Refusal{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "not with this method"}
	errQuery    = &admin.Refusal{Status: http.StatusBadRequest, Code: "bad_request", Message: "no parameters are known here"}
)

// ServeHTTP answers one request: who asks comes first, then what is asked.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.place(r); err != nil {
		refused(w, err)
		return
	}
	allow(w, r)
	if err := s.serve(w, r); err != nil {
		refused(w, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	route, ok := s.routes[r.URL.Path]
	if !ok {
		return errNotFound
	}
	method := http.MethodGet
	if route.acts {
		method = http.MethodPost
	}
	switch r.Method {
	case http.MethodOptions:
		preflight(w)
		return nil
	case method:
	default:
		w.Header().Set("Allow", method+", OPTIONS")
		return errMethod
	}
	if r.URL.Path != "/partitions" && r.URL.RawQuery != "" {
		return errQuery
	}
	if route.acts {
		if err := deliberate(r); err != nil {
			return err
		}
	}
	return route.serve(w, r)
}

// refused says why not. An error that is no Refusal is one of ours: it is not told.
func refused(w http.ResponseWriter, err error) {
	var refusal *admin.Refusal
	if !errors.As(err, &refusal) {
		refusal = &admin.Refusal{Status: http.StatusInternalServerError, Code: "internal", Message: "that failed here"}
	}
	answer(w, refusal.Status, refusal)
}

func answer(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // ours are plain structs
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // who is gone needs no answer
}

func (s *Server) state(w http.ResponseWriter, _ *http.Request) error {
	answer(w, http.StatusOK, s.cluster.State())
	return nil
}

// partitions tells where rooms live, in the order in which they were asked after.
func (s *Server) partitions(w http.ResponseWriter, r *http.Request) error {
	rooms := r.URL.Query()["room"]
	if len(rooms) == 0 || len(rooms) > maxRooms {
		return &admin.Refusal{Status: http.StatusBadRequest, Code: "bad_request", Message: fmt.Sprintf("want room=NAME, 1 to %d times", maxRooms)}
	}
	list := make([]proto.Partition, len(rooms))
	for i, room := range rooms {
		list[i] = proto.PartitionOfString(room, proto.Partitions)
	}
	answer(w, http.StatusOK, map[string]any{"partitions": list})
	return nil
}

// onShard carries out an action on the shard that the body names, and answers with the new state.
func (s *Server) onShard(action func(context.Context, proto.NodeID) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var body struct {
			Node proto.NodeID `json:"node"`
		}
		if err := read(w, r, &body); err != nil {
			return err
		}
		if err := proto.CheckNodeID(string(body.Node)); err != nil {
			return &admin.Refusal{Status: http.StatusBadRequest, Code: "bad_request", Message: `want {"node":"s2"}`}
		}
		if err := action(r.Context(), body.Node); err != nil {
			return err
		}
		return s.state(w, r)
	}
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) error {
	if err := read(w, r, &struct{}{}); err != nil {
		return err
	}
	if _, err := s.cluster.Add(r.Context()); err != nil {
		return err
	}
	return s.state(w, r)
}

// read takes in a body: one JSON object of known fields.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		_, err = d.Token()
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &admin.Refusal{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the body is too large"}
	case err != io.EOF:
		return &admin.Refusal{Status: http.StatusBadRequest, Code: "bad_request", Message: "the body is not what is wanted here"}
	}
	return nil
}
