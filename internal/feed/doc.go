// Package feed tells what happened in the cluster, in words for people: who
// came and went, which partitions went from whom to whom, and why. It needs no
// word from other nodes: every node holds a View and a Table, and what happened
// is the difference between two of them.
//
// It is a pure core: no goroutine, lock or clock. It decides nothing, and knows
// no more than what the node that it runs on saw.
//
// Read state.go, diff.go (what happened to nodes and to the cluster) with
// partitions.go and reason.go, then journal.go, which keeps what was told and
// counts it.
package feed
