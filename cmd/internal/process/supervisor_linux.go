package process

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// sayTime bounds the sending of one word: a supervisor whose queue is full must not hold the node up.
const sayTime = time.Second

// dialSupervisor returns what sends to a socket: a path, or behind an @ a name without one. Every word
// is a datagram of its own over a socket of its own, so a supervisor that was restarted hears the next.
func dialSupervisor(address string) (send func(string) error, err error) {
	if len(address) < 2 || address[0] != '/' && address[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET=%s is neither a path nor an abstract name", address)
	}
	to := &net.UnixAddr{Name: address, Net: "unixgram"} // package net knows the @
	return func(state string) error {
		conn, err := net.DialUnix("unixgram", nil, to)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetWriteDeadline(time.Now().Add(sayTime)); err != nil {
			return err
		}
		_, err = conn.Write([]byte(state))
		return err
	}, nil
}

// monotonic is the clock that the supervisor compares with: CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // every Linux has it
	}
	return time.Duration(now.Nano())
}
