// Command sizing measures what a conn and a room cost, for those who have to choose machines: the tables
// of docs/operating.md.
//
//	go run ./internal/sizing                             # three rounds of everything, a quarter of an hour
//	go run ./internal/sizing -into docs/operating.md     # and put the tables where they belong
//	go run ./internal/sizing -quick                      # does it run? the figures are of no use
//
// A router and two shards run as processes of their own, with the settings that a user has who sets none;
// the clients are in this process. What the nodes use in memory and CPU time is read from /proc. The
// kernel's part of a conn cannot be read by process: it is half of what the kernel's memory has grown by,
// for both ends of a conn are on this machine and are made of the same. So a machine that does other work
// meanwhile spoils it.
//
// internal/compare says what a delivery costs next to other servers; this says how many machines.
//
// It needs Linux and Go, no root, listens on loopback alone, and leaves nothing behind.
//
// Read main.go (what can be asked for), measure.go (what is done), node.go (the processes), client.go (the
// clients), system.go (what the kernel counts) and report.go (the tables).
package main
