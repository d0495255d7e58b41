// Package admin is the HTTP port of a node for its operators: the inspector
// page and what it is made of (ring, nodes, rooms, plans, streams of events),
// health, metrics and profiles, and the changes that only a person may decide
// on: drain, forget and recover. Every node has one, and any node answers for
// the cluster.
//
// It is not for clients (package router has their port), and it knows nothing
// of how a cluster is made: what it shows comes from a Source, and counters
// come from functions that take a snapshot of them.
//
// Read config.go for what is said to whom and what is refused at the start,
// server.go for the server and its bounds, guard.go for who may ask (Host,
// Origin, tokens, in this order), routes.go for the way of a request and the
// first questions, query.go for how a query is checked, nodes.go, rooms.go and
// plan.go for a question each and its answer, stream.go for the answers that
// go on, event.go for what they tell, change.go for what changes the cluster,
// document.go and refusal.go for the other answers, ready.go for why a node is
// not ready, metrics.go and stats.go for how counters become metrics. refused.go
// counts what is refused, limit.go bounds the conns, peer_linux.go ends those of
// dead peers, page.go sends the inspector, profile.go is /debug/pprof/.
package admin
