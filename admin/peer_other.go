//go:build !linux

package admin

import "net"

// giveUp does nothing here: the system decides when a peer is gone.
func giveUp(net.Conn) {}
