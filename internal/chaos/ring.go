//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// ring is what a node says of the cluster at /v1/ring.
type ring struct {
	Instance   string
	Settled    bool
	SingleCopy int `json:"single_copy"`
	Voters     []string
	Leader     string
	Version    uint64
	Nodes      []struct{ ID, State string }
	Table      []row
}

// row is a partition in the Table.
type row struct {
	Partition     int
	Owner, Wanted string
	Followers     []string
	Term          uint64
}

// equal leaves out who is wanted: that is an opinion.
func (r row) equal(o row) bool {
	return r.Partition == o.Partition && r.Owner == o.Owner && r.Term == o.Term && slices.Equal(r.Followers, o.Followers)
}

// alive are the ids of the nodes that live, sorted.
func (r *ring) alive() (ids []string) {
	for _, n := range r.Nodes {
		if n.State == "alive" {
			ids = append(ids, n.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// askFor bounds a question to a node. One that is stopped does not answer.
const askFor = 2 * time.Second

var askClient = &http.Client{Timeout: askFor, Transport: &http.Transport{DisableKeepAlives: true}}

// ask does a GET at the node's admin port.
func (n *node) ask(path string) (status int, body []byte, err error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+n.token)
	answer, err := askClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	return answer.StatusCode, body, err
}

// ring asks for all that the node knows, summary for that without the rows of the Table.
func (n *node) ring() (*ring, error)    { return n.askRing("/v1/ring") }
func (n *node) summary() (*ring, error) { return n.askRing("/v1/ring?table=0") }

func (n *node) askRing(path string) (*ring, error) {
	status, body, err := n.ask(path)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s of %s: status %d: %s", path, n.id, status, body)
	}
	r := &ring{}
	return r, json.Unmarshal(body, r)
}

// ready returns why the node is not ready, "" if it is.
func (n *node) ready() string {
	status, body, err := n.ask("/readyz")
	if err != nil {
		return err.Error()
	}
	if status != http.StatusOK {
		return string(body)
	}
	return ""
}
