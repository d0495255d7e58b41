package node

import (
	"errors"
	"fmt"
	"testing"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

// How a link ended decides whether a closed port is half a proof of death (rule R9).
func TestEndOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want cluster.LinkEnd
	}{
		{&link.Goodbye{Reason: "node leaves", Leaves: true, Remote: true}, cluster.EndLeft},
		{&link.Goodbye{Reason: "node stops", Remote: true}, cluster.EndBroken},
		{&link.Goodbye{Reason: "forgotten"}, cluster.EndClosed},
		{&link.Goodbye{Reason: "node leaves", Leaves: true}, cluster.EndClosed},
		{fmt.Errorf("frame: %w", &proto.Error{Code: proto.Malformed}), cluster.EndClosed},
		{link.ErrReplaced, cluster.EndClosed},
		{link.ErrSilent, cluster.EndSilent},
		{link.ErrEOF, cluster.EndBroken},
		{errors.New("connection reset"), cluster.EndBroken},
	} {
		if got := endOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
