package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/roomring/roomring/proto"
)

// RoomDocument is the answer of /v1/room.
type RoomDocument struct {
	Room      string          `json:"room"`
	Partition proto.Partition `json:"partition"`
	Owner     proto.NodeID    `json:"owner"` // empty when nobody owns the partition now
	Followers []proto.NodeID  `json:"followers"`
	Term      proto.Term      `json:"term"`
	Epoch     string          `json:"epoch"`
	Offset    proto.Offset    `json:"offset"` // of the newest message, 0 before the first
	First     proto.Offset    `json:"first"`  // lowest kept, Offset + 1 when nothing is
	Kept      int             `json:"kept"`   // messages
	Bytes     int64           `json:"bytes"`  // of the kept messages' payloads
	Members   int             `json:"members"`
	// Routers has the members of each router that has any.
	Routers map[proto.NodeID]int `json:"routers"`
}

// filled has empty lists where d has none: a reader need not expect null.
func (d RoomDocument) filled() RoomDocument {
	if d.Followers == nil {
		d.Followers = []proto.NodeID{}
	}
	if d.Routers == nil {
		d.Routers = map[proto.NodeID]int{}
	}
	return d
}

// healthDocument is the answer of /healthz.
type healthDocument struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// readyDocument is the answer of /readyz.
type readyDocument struct {
	Ready    bool              `json:"ready"`
	Reasons  []string          `json:"reasons"`
	Messages map[string]string `json:"messages"` // a sentence per reason, for people
}

// ForgetDocument is the answer of /v1/forget.
type ForgetDocument struct {
	Node proto.NodeName `json:"node"` // the run that counts as dead now
}

// RecoverDocument is the answer of /v1/recover.
type RecoverDocument struct {
	Generation uint32           `json:"generation"` // of the cluster as it is founded now
	Kept       int              `json:"kept"`       // partitions that keep their owner, and their rooms
	Reset      int              `json:"reset"`      // partitions whose rooms begin anew
	Nodes      []proto.NodeName `json:"nodes"`      // whose copies of the Table were gathered, sorted
}

// filled has an empty list where d has none.
func (d RecoverDocument) filled() RecoverDocument {
	if d.Nodes == nil {
		d.Nodes = []proto.NodeName{}
	}
	return d
}

// writeRefusal answers with f and ends the conn: whatever body the request had
// need not be read.
func writeRefusal(w http.ResponseWriter, f *Refusal) {
	w.Header().Set("Connection", "close")
	if f.Code == proto.Full.String() {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, f.Status, f)
}

// writeJSON answers with a whole document, or with 500 when it cannot be
// rendered: never with a part of one.
func writeJSON(w http.ResponseWriter, status int, document any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the type says JSON and browsers may not guess another
	if err := e.Encode(document); err != nil {
		b.Reset()
		status = http.StatusInternalServerError
		b.WriteString(`{"error":{"code":"internal","message":"the answer could not be rendered"}}` + "\n")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
