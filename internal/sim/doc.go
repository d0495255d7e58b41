// Package sim runs the production cores of a cluster from one seed: package hub
// at the routers, package partition at the shards, as owner, follower and
// learner, and the coordinator (cluster.Keeper with package plan) at every node,
// over a network that delays, stalls, cuts and breaks, on a clock that only the
// simulation moves.
//
// It is not a model: what it runs is what the nodes run, without their loops
// and sockets. It is no benchmark, and pauses are not its business. It does not
// test package link, memberlist or raft: of those it has the simplest stand-in
// that can be as bad as they can. Who decides about the Table, with voters, disks
// and foundings, is package council's question.
//
// What is checked: a place in a room's log has one content, wherever it is read;
// what an owner has committed is never lost while a copy lives, and never
// doubled; a term has one owner that commits; a publisher's messages keep their
// order; every member hears everything once, or is told what it missed; copies
// are equal, byte for byte, once all is quiet; nothing waits for ever; no row of
// the Table changes without a cause, and a log begins anew only when all who have
// it are dead.
//
// The same seed gives the same history, event by event. A failing seed is
// replayed with
//
//	go test ./internal/sim -run TestSeeds -seed N -v
//
// and, once mended, kept in testdata/seeds, whose seeds always run.
//
// Read world.go (what a run is), shape.go (what a seed decides), host.go and
// node.go (machines and what runs there), router.go and shard.go (lanes around
// the cores), link.go and sketch.go (connections), package gossip and register.go
// (who is there, and where the Table is kept), client.go (members and their sockets),
// faults.go and directed.go (what goes wrong), then what is checked: ledger.go
// (the truth: what every log holds), truth.go (what the Table may say),
// conversation.go (what nodes say to each other), ear.go (what members hear),
// checker.go (how it must end). Package timeline has the clock, the dice and the
// transcript.
package sim
