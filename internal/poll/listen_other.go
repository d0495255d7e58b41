//go:build !linux

package poll

import "net"

type rawListener struct{}

func (a *listening) watch(*net.TCPListener) error { return nil }
func (a *listening) unwatch() bool                { return false }
