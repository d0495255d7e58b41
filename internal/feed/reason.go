package feed

import (
	"fmt"
	"strings"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// death says how it is known that a node is dead, or what is thought of one that
// is not.
func (s *State) death(name proto.NodeName) string {
	n, seen := s.node(name)
	n.Name = name
	switch fate := s.Fates[name]; {
	case s.forgot(name):
		return "an operator said that it is dead"
	case s.left(&n):
		return "it left"
	case fate == cluster.FateReplaced, !s.lives(name) && s.another(name):
		return "a later run of it took its place"
	case fate == cluster.FateRefused:
		return "its link broke, and nobody listens at its address any more"
	case seen && n.State == cluster.Suspect:
		return "there is no link to it any more"
	case seen && n.Lives():
		return "it lives here, but was silent for the coordinator"
	case seen:
		return "gossip has given it up"
	}
	return "it is not seen any more"
}

// arrival says what has come.
func arrival(before *State, n *cluster.Node) string {
	text := "a " + n.Role.String()
	if n.Zone != "" {
		text += " in zone " + n.Zone
	}
	for _, run := range before.nodes() {
		if run.ID() == n.ID() {
			return text + ", started again"
		}
	}
	return text
}

// planned says why partitions are handed over, or copied to somebody else.
func (s *State) planned(from proto.NodeName) string {
	if n, _ := s.node(from); n.State == cluster.Draining || s.left(&n) {
		return string(from.ID()) + " drains"
	}
	return "the ring wants them there"
}

// list writes ids as a person would.
func list(names []proto.NodeName) string {
	ids := make([]string, len(names))
	for i, n := range names {
		ids[i] = string(n.ID())
	}
	if last := len(ids) - 1; last > 0 {
		return strings.Join(ids[:last], ", ") + " and " + ids[last]
	}
	return strings.Join(ids, "")
}

// leads says what became of the lead.
func (s *State) leads() string {
	if s.Leader == "" {
		return "nobody is heard of who leads the register: the table cannot change"
	}
	return fmt.Sprintf("it leads the register, in term %d", s.Term)
}
