// Package container runs programs as a container engine does, so that what is written for one can be tried
// where there is none: in namespaces of their own, on a root that they cannot leave, as a user without any
// right of the system, with the mounts, the names and the network that they are given. It is no engine: it
// knows neither images nor limits of memory and time.
//
// Read spec.go (what a container is), init.go (how it becomes one), process.go (one that runs), network.go.
package container
