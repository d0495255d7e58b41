//go:build !linux

package poll

import "time"

const haveEpoll = false

// epoll does not exist here: every Loop is portable, Take never makes a raw
// descriptor, and none of this is called.
type epoll struct{}

func newEpoll(*Loop, time.Duration) (*epoll, error) { panic("poll: no epoll") }

func (*epoll) wait() error               { return nil }
func (*epoll) dispatch()                 {}
func (*epoll) add(*Conn) error           { return nil }
func (*epoll) remove(*Conn)              {}
func (*epoll) rearm(*Conn)               {}
func (*epoll) find(int32) *Conn          { return nil }
func (*epoll) wake()                     {}
func (*epoll) close()                    {}
func writeFD(int32, []byte) (int, error) { return 0, nil }
func shutFD(int32)                       {}
