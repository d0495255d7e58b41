package plan

// Verdict is what the coordinator holds of a node's life.
type Verdict uint8

// The verdicts. Only proof may start a new epoch: a silent owner may be committing on its side of a
// split (rule R9).
const (
	Lives  Verdict = iota // heard of, or not yet missed
	Silent                // not heard of: it may be dead or cut off
	Proved                // dead for certain: this run of the node will never act again
)
