// Package sim runs the production cores of routers and shards as one cluster
// from one seed: package hub at the routers, package partition at the shards,
// package plan for the Table, over a network that delays, stalls and breaks, on
// a clock that only the simulation moves.
//
// It is not a model: what it runs is what the nodes run, without their loops
// and sockets. It is no benchmark, and it does not test links, gossip or the
// Table's own protocol: of those it has the simplest stand-in that can be as
// bad as they can.
//
// The same seed gives the same history, event by event. A failing seed is
// replayed with
//
//	go test ./internal/sim -run TestSeeds -seed N -v
//
// and, once mended, kept in testdata/seeds, whose seeds always run.
//
// Read world.go (the clock, what a run is), shape.go (what a seed decides),
// router.go and shard.go (lanes around the cores), network.go (links), table.go
// (who knows what about owners), client.go (members and their sockets),
// faults.go (what goes wrong), then what is checked: ledger.go (the truth: what
// every log holds), conversation.go (what nodes say to each other), ear.go (what
// members hear), checker.go (how it must end).
package sim
