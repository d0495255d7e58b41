package node

import (
	"context"
	"strings"

	"github.com/roomring/roomring/admin"
)

// Answer asks every loop that serves clients, links and partitions, and returns nil when all of them
// have answered. The error is ctx's or that the node does not run.
func (n *Node) Answer(ctx context.Context) error {
	var told admin.Told // asking for figures is what reaches all loops; nobody reads them here
	return n.role.figures(ctx, &told)
}

// Status is a line that says what /readyz says, and whether the node is about to leave.
func (n *Node) Status() (line string, leaving bool) {
	ready, reasons := (*source)(n).Ready()
	if ready {
		return "ready", n.control.draining.Load()
	}
	told := make([]string, len(reasons))
	for i, reason := range reasons {
		told[i] = reason
		if text := admin.Sentence(reason); text != "" {
			told[i] += " (" + text + ")"
		}
	}
	return "not ready: " + strings.Join(told, ", "), n.control.draining.Load()
}
