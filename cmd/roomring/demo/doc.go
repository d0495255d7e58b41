// Package demo runs the nodes of roomring dev, and lets its page kill, restart, add and drain shards.
// It is for one machine and one person: it listens on loopback and answers the page alone.
//
// Read cluster.go (which nodes run, and how all end), run.go (one run of a node), action.go (what may be
// done to a shard, and why not), state.go (what the page is told of it), then the port: server.go, guard.go
// (who may ask), routes.go, events.go.
package demo
