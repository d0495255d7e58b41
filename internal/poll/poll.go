// Package poll drives many stream connections from one goroutine: a Loop, of
// which a process runs one per core. Everything a Loop calls (handlers, posted
// functions, Turn, Tick) runs on that goroutine, so whoever owns a Loop needs
// no locks for what lives on it.
//
// There are two backends with one contract. On Linux TCP sockets are driven by
// an own epoll instance, without a goroutine or a buffer per connection. All
// else (TLS, in-memory networks, other systems, Config.Portable) is driven by
// the portable twin: a reader and a writer goroutine per connection that hand
// their work to the same Loop.
//
// One wake-up of a Loop is: the events of all connections, then posted
// functions, then Tick if it is due, then Turn once. Who batches its output
// until Turn writes once per connection and wake-up.
//
// It is not a general event library: there are no timers (Tick is all), no
// datagrams, no dialling (dial with net and Take the result), no TLS of its
// own.
//
// Reading order: poll.go (the contract), loop.go (a wake-up), conn.go (what a
// connection can do), epoll_linux.go (how it waits, reads and writes),
// stream.go (the portable twin), listen.go, socket.go.
package poll

import "errors"

// Handler is told what happens on one connection. All methods are called on
// the goroutine of the Loop that the Conn is open on, never from inside a
// method of Conn or Loop. A handler may close, release, pause or write any
// connection of the loop in any of them.
//
// A method that panics costs its own connection only: the panic is counted and
// reported through Config.Panic, the connection is closed, and Broken(ErrPanic)
// lets the owner clean up.
type Handler interface {
	// Data hands over bytes that arrived, preceded by what the last call left
	// over, and returns how many it consumed. b may be changed in place (what
	// is left over keeps the change) and is valid until Data returns. It may
	// be called with left-over bytes alone, after Resume and OpenWith.
	Data(b []byte) (n int)

	// EOF says that the peer has closed its direction: there is no more Data.
	// The handler may go on writing and decides when to Close. When this side
	// has closed its direction too (CloseWrite), nothing is left to do and
	// Broken(ErrFinished) follows.
	EOF()

	// Writable says that a connection whose last Write was short takes more.
	Writable()

	// Broken says that the connection is gone. It is called at most once, the
	// Conn is already closed, and nothing is called after it.
	Broken(err error)
}

var (
	// ErrFinished is given to Broken when both directions were closed in order.
	ErrFinished = errors.New("both directions are closed")

	// ErrPanic is given to Broken after a method of the handler panicked.
	ErrPanic = errors.New("handler panicked")

	// ErrRest is given to Broken when a handler left more than 4 MiB over: it
	// waits for more than any message may hold.
	ErrRest = errors.New("more than 4 MiB left over")

	// ErrClosed is returned by Open for the zero Socket.
	ErrClosed = errors.New("socket is closed")
)

const (
	// bufferSize is how much one read can bring. All connections of a loop
	// share one buffer.
	bufferSize = 256 << 10

	// sipSize is the same for a connection that sips.
	sipSize = 16 << 10

	// directRest is the left-over size from which new bytes are read behind
	// it, in its own slice, instead of copying it into the shared buffer: else
	// a peer that sends byte by byte would make us copy it once per byte.
	directRest = 16 << 10

	// maxRest bounds what a handler can leave over. It is above the largest
	// frame (1 MiB) by far, so only a bug or an attack reaches it.
	maxRest = 4 << 20
)
