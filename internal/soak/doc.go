// Command soak runs a cluster for long under mixed churn and judges whether it stays as it is: memory,
// descriptors, goroutines, rooms and conns of each process flat, and no message lost, doubled or out
// of order.
//
//	go run ./internal/soak -for 1h
//	go run ./internal/soak -for 100s -move 40s -sample 2s -rate 50     a share, for a gate
//
// It builds the programs, starts three shards and two routers as processes of their own, and has
// conns come and go, rooms be born and forgotten, readers fall behind, others say nothing, messages
// come over HTTP too, and a fourth shard join and drain, in turn. It is no load test: what leaks, leaks
// at any rate. It ends with 0 if all is flat and whole, with 1 if not, and with 2 if it could not be
// run, or the machine had so much else to do that this process answered routers too late; nothing is left
// behind, also when it is interrupted. The first faults are told when they are found.
//
// Read main.go (options and order), cluster.go and node.go (processes), churn.go (who comes and goes),
// socket.go and follower.go (one conn and what it checks), canary.go (whether we had time), sample.go
// (what is measured), verdict.go (what flat means) and report.go.
package main
