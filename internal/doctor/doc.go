// Package doctor finds what is wrong with a machine that nodes run on, and with a cluster, and says how
// to mend it.
//
// Gathering and judging are apart: Gather reads what the system tells (Machine), a command asks a node
// (Cluster), and the two Judge functions turn facts into findings without looking at anything else. What
// the system does not tell is not judged: it is said to be unchecked.
//
// Read finding.go, then machine.go and cluster.go for what is judged and why, then gather.go and port.go
// for where the facts come from.
package doctor
