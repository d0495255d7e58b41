//go:build !unix

package router

// descriptors is how many sockets we would have open where the system sets no
// limit of its own.
func descriptors() int { return 1 << 16 }
