package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

// forgetRequest is the body of /v1/forget.
type forgetRequest struct {
	Node string `json:"node"` // an id, or the name of a run
}

func (s *Server) forgetNode(w http.ResponseWriter, r *http.Request) error {
	var q forgetRequest
	if err := read(r, &q); err != nil {
		return err
	}
	if err := CheckNode(q.Node); err != nil {
		return &Refusal{http.StatusBadRequest, "bad_node", err.Error()}
	}
	s.log.Warn("operator forgets a node", zap.String("node", q.Node), zap.String("from", r.RemoteAddr))
	ctx, cancel := context.WithTimeout(r.Context(), ChangeTimeout)
	defer cancel()
	d, err := s.config.Source.Forget(ctx, q.Node)
	if err != nil {
		return late(err)
	}
	writeJSON(w, http.StatusOK, d)
	return nil
}

// drainRequest is the body of /v1/drain.
type drainRequest struct {
	// Node is an id, or the name of a run; absent, it is the asked node. It is
	// kept as it came: a null that a program sent by mistake drains nobody.
	Node json.RawMessage `json:"node"`
}

func (s *Server) drainNode(w http.ResponseWriter, r *http.Request) error {
	var q drainRequest
	if err := read(r, &q); err != nil {
		return err
	}
	node := ""
	if q.Node != nil {
		if json.Unmarshal(q.Node, &node) != nil {
			return errObject
		}
		if err := CheckNode(node); err != nil {
			return &Refusal{http.StatusBadRequest, "bad_node", err.Error()}
		}
	}
	s.log.Warn("operator drains a node", zap.String("node", node), zap.String("from", r.RemoteAddr))
	ctx, cancel := context.WithTimeout(r.Context(), RoomTimeout)
	defer cancel()
	d, err := s.config.Source.Drain(ctx, node)
	if err != nil {
		return late(err)
	}
	writeJSON(w, http.StatusAccepted, d)
	return nil
}

func (s *Server) recoverCluster(w http.ResponseWriter, r *http.Request) error {
	if err := read(r, &struct{}{}); err != nil {
		return err
	}
	s.log.Warn("operator recovers the cluster", zap.String("from", r.RemoteAddr))
	ctx, cancel := context.WithTimeout(r.Context(), ChangeTimeout)
	defer cancel()
	d, err := s.config.Source.Recover(ctx)
	if err != nil {
		return late(err)
	}
	writeJSON(w, http.StatusOK, d.filled())
	return nil
}

// CheckNode says whether s has the form of a node's id or of the name of a run.
func CheckNode(s string) error {
	if !strings.Contains(s, "/") {
		return proto.CheckNodeID(s)
	}
	_, err := proto.ParseNodeName(s)
	return err
}

// late tells an end of the time from other errors: what was asked for is under
// way then, and to call it failed would be a lie.
func late(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return errLate
	}
	return err
}

var (
	errType   = &Refusal{http.StatusUnsupportedMediaType, "unsupported_media_type", "want content-type: application/json"}
	errCut    = &Refusal{http.StatusBadRequest, "bad_request", "the body did not arrive whole"}
	errObject = &Refusal{http.StatusBadRequest, "bad_request", "the body is not one json object with the fields of this path"}
)

// read parses a body into the struct that into points to. It takes one object,
// no unknown fields and nothing after it: a slip in a change that cannot be
// undone is refused, not guessed at. The type is asked for because a page of
// another site cannot send it unasked.
func read(r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return errType
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return cutBody(err)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errObject // null would be taken for an empty object
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(into) != nil {
		return errObject
	}
	if _, err := d.Token(); err != io.EOF {
		return errObject
	}
	return nil
}

// cutBody is what a body that could not be read is answered with.
func cutBody(err error) error {
	var size *http.MaxBytesError
	if errors.As(err, &size) {
		return err
	}
	return errCut
}
