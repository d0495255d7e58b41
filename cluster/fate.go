package cluster

import "fmt"

// Fate is what became of a run of a node, as far as one other node could find out.
type Fate uint8

// The fates. All but the first two are reported to the coordinator; which of them prove a death is
// rule R9's.
const (
	FateUnknown  Fate = iota // no answer, or none that tells anything
	FateAlive                // it answers itself
	FateRefused              // it hung up on us, and nobody listens at its address any more
	FateReplaced             // a later run of the same node answers at its address, or holds its data directory
	FateLeft                 // it said goodbye
)

func (f Fate) String() string {
	switch f {
	case FateUnknown:
		return "unknown"
	case FateAlive:
		return "alive"
	case FateRefused:
		return "refused"
	case FateReplaced:
		return "replaced"
	case FateLeft:
		return "left"
	}
	return fmt.Sprintf("fate(%d)", uint8(f))
}
