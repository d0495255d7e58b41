package websocket

import "time"

// Limits bounds what one connection may cost. The zero value has the defaults.
type Limits struct {
	// Head bounds a request's head in bytes, the final empty line included.
	// More is answered 431. If zero, 8 KiB.
	Head int

	// Headers bounds the header lines of a request. More is answered 431.
	// If zero, 64.
	Headers int

	// URI bounds the request target in bytes. More is answered 414.
	// If zero, 2 KiB.
	URI int

	// Subprotocols are the known ones. Of those a client offers, the first
	// known is taken; offering only unknown ones is answered 400. Nil knows none.
	Subprotocols []string

	// Message bounds a message and so each of its frames, in bytes of payload.
	// It is judged by the frame's header, before the payload arrives. A larger
	// one is closed with 1009. If zero, 64 KiB.
	Message int

	// Fragments bounds the frames of one message. One more is closed with 1008.
	// If zero, 128.
	Fragments int

	// MessageTime bounds the time from the first byte of a frame to the last
	// byte of the message that it belongs to. More is closed with 1008.
	// If zero, 10 seconds.
	MessageTime time.Duration
}

func (l *Limits) head() int      { return orDefault(l.Head, 8<<10) }
func (l *Limits) headers() int   { return orDefault(l.Headers, 64) }
func (l *Limits) uri() int       { return orDefault(l.URI, 2<<10) }
func (l *Limits) message() int   { return orDefault(l.Message, 64<<10) }
func (l *Limits) fragments() int { return orDefault(l.Fragments, 128) }

func (l *Limits) messageTime() time.Duration { return orDefault(l.MessageTime, 10*time.Second) }

func orDefault[T int | time.Duration](v, standard T) T {
	if v == 0 {
		return standard
	}
	return v
}
