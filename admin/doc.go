// Package admin is the HTTP port of a node for its operators: the ring, one
// room, health, metrics and profiles, and the two changes that only a person
// may decide on, forget and recover. Every node has one, and any node answers
// for the cluster.
//
// It is not for clients (package router has their port), and it knows nothing
// of how a cluster is made: what it shows comes from a Source, and counters
// come from functions that take a snapshot of them.
//
// Read config.go for what is said to whom and what is refused at the start,
// server.go for the server and its bounds, guard.go for who may ask (Host,
// Origin, tokens, in this order), routes.go for the questions, change.go for
// what changes the cluster (forget, recover), document.go and refusal.go for
// the answers, ready.go for why a node is not ready, metrics.go for how counters
// become metrics. limit.go bounds the conns, profile.go is /debug/pprof/.
package admin
