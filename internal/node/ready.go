package node

import (
	"context"

	"github.com/roomring/roomring/admin"
)

// source is a node as its admin port sees it.
type source Node

var _ admin.Source = (*source)(nil)

// Ring is the document of /v1/ring.
func (s *source) Ring(withTable bool) any { return s.cluster.Describe(withTable) }

// Room is the document of /v1/room.
func (s *source) Room(ctx context.Context, name string) (admin.RoomDocument, error) {
	return (*Node)(s).room(ctx, name)
}

// Ready says whether the node should be given work.
func (s *source) Ready() (bool, []string) {
	reasons := []string{}
	if s.cluster.Table() == nil {
		reasons = append(reasons, "no_table")
	}
	if s.cluster.Outnumbered() {
		reasons = append(reasons, "other_instance")
	}
	if s.control.draining.Load() {
		reasons = append(reasons, "draining")
	} else if ok, reason := s.role.healthy(); !ok {
		reasons = append(reasons, reason)
	}
	return len(reasons) == 0, reasons
}

// Health says whether the process is worth keeping. A node that waits for
// others is: only itself could end that by being restarted.
func (s *source) Health() (bool, string) { return true, "" }
