package demo

import "github.com/roomring/roomring/proto"

// Document says which nodes there are, and what may be done to the shards.
type Document struct {
	Routers []NodeDocument  `json:"routers"`
	Shards  []ShardDocument `json:"shards"` // by id
	Add     May             `json:"add"`
}

// NodeDocument is the last run of a node.
type NodeDocument struct {
	ID     proto.NodeID   `json:"id"`
	Name   proto.NodeName `json:"name"`
	State  State          `json:"state"`
	Reason string         `json:"reason"` // why it failed, for people; else ""
	Admin  string         `json:"admin"`  // host:port
	Listen string         `json:"listen"` // host:port; "" at a shard
}

// ShardDocument is a shard and what may be done to it.
type ShardDocument struct {
	NodeDocument
	Kill    May `json:"kill"`
	Drain   May `json:"drain"`
	Restart May `json:"restart"`
}

// May says whether something may be done, and why not: "" when it may. Who votes is only asked when a
// shard shall be killed.
type May string

// State tells which nodes there are.
func (c *Cluster) State() Document {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := Document{Routers: []NodeDocument{}, Shards: []ShardDocument{}}
	for _, r := range c.routers {
		d.Routers = append(d.Routers, r.document())
	}
	for _, r := range c.shards {
		s := ShardDocument{NodeDocument: r.document()}
		_, err := c.mayEnd(s.ID, "killed")
		s.Kill, s.Drain = may(err), may(err)
		if r.state == Draining {
			s.Drain = "it is leaving already"
		}
		if r.lives() {
			s.Restart = "it runs"
		}
		d.Shards = append(d.Shards, s)
	}
	if len(d.Shards) >= MaxShards {
		d.Add = may(tooMany())
	}
	return d
}

func may(err error) May {
	if err == nil {
		return ""
	}
	return May(err.Error())
}

// document is a run as others see it. The Cluster's mutex is held.
func (r *run) document() NodeDocument {
	a := r.node.Addresses()
	d := NodeDocument{ID: r.node.Name().ID(), Name: r.node.Name(), State: r.state, Admin: a.Admin, Listen: a.Listen}
	if r.err != nil {
		d.Reason = r.err.Error()
	}
	return d
}
