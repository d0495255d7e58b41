// Package council runs the coordinator's core (cluster.Keeper) as the nodes of
// one cluster from one seed: over a network that delays, cuts and resets, with a
// gossip that errs, on a clock that only the simulation moves. What it asks is
// who decides about the Table, and whether all come to the same.
//
// The keepers, the Table, its frames and commands are what nodes run. Links,
// gossip and processes are the simplest stand-ins that can be as bad as the real
// ones. The register is a model of raft (voter.go): terms, elections, logs and
// configurations, written for this package, so that what package cluster asks of
// a register is tested against the rules and not against one library. It does
// not test package link, memberlist's protocol, hashicorp/raft or files on disk.
//
// The same seed gives the same history, event by event. A failing seed is
// replayed with
//
//	go test ./internal/sim/council -run TestSeeds -seed N -v
//
// and, once mended, kept in testdata/seeds, whose seeds always run.
//
// Read world.go (the clock, what a run is), shape.go (what a seed decides),
// host.go and process.go (machines and what runs there), link.go and package
// gossip (how they hear of each other), register.go and voter.go (raft), faults.go and
// operator.go (what happens to them), then what is checked: ledger.go (always)
// and checker.go (how it must end).
package council
