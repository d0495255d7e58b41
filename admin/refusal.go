package admin

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/roomring/roomring/proto"
)

// Refusal is an answer other than 2xx, in the shape of the client port's
// errors: Code is for programs, Message for people. A Source that returns one
// has it sent as it is, so it must tell nothing that only the log may know.
type Refusal struct {
	Status  int // of HTTP, 400 or above
	Code    string
	Message string
}

func (f *Refusal) Error() string { return f.Message }

// MarshalJSON writes {"error":{"code","message"}}.
func (f *Refusal) MarshalJSON() ([]byte, error) {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	return json.Marshal(map[string]inner{"error": {f.Code, f.Message}})
}

// UnknownNode refuses to forget what nobody has heard of.
func UnknownNode(node string) *Refusal {
	return &Refusal{http.StatusNotFound, "unknown_node", "no node " + node + " is known: /v1/ring lists them"}
}

// AliveNode refuses to forget a run that lives: it may be committing.
func AliveNode(node proto.NodeName) *Refusal {
	return &Refusal{http.StatusConflict, "alive", string(node) + " is alive: drain it (SIGTERM) or stop it, there is nothing to forget"}
}

// NotAlive refuses to drain a node that is dead, or drains already.
func NotAlive(node proto.NodeName, state string) *Refusal {
	return &Refusal{http.StatusConflict, "not_alive", string(node) + " is " + state + ": there is nothing to drain"}
}

// AmbiguousNode refuses an id of which several runs do not live.
func AmbiguousNode(runs []proto.NodeName) *Refusal {
	names := make([]string, len(runs))
	for i, run := range runs {
		names[i] = string(run)
	}
	return &Refusal{http.StatusConflict, "ambiguous", "several runs have this id, name one: " + strings.Join(names, ", ")}
}

// NoMajority refuses a change of the Table that nobody can commit.
func NoMajority() *Refusal {
	return &Refusal{http.StatusServiceUnavailable, "no_majority", "no majority of the voters answers, so the table cannot change"}
}

// HasMajority refuses to recover a cluster that works.
func HasMajority(leader proto.NodeName) *Refusal {
	return &Refusal{http.StatusConflict, "has_majority", "the voters have a leader, " + string(leader) + ": there is nothing to recover"}
}

// NoTable refuses to recover from nothing.
func NoTable() *Refusal {
	return &Refusal{http.StatusServiceUnavailable, "no_table", "no node that can be reached holds a table: there is nothing to recover from"}
}

// errLate is said of a change whose outcome is not known.
var errLate = &Refusal{http.StatusServiceUnavailable, proto.Unavailable.String(), "no outcome in time: it may still take effect, /v1/ring shows whether it did"}
