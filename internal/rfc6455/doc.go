// Package rfc6455 is a table of what clients may and may not send: opening
// handshakes and streams of frames, each with the outcome that RFC 6455 and our
// own bounds demand. It is data for tests: of the parser, and of a whole router
// over real sockets. It has no opinion on how the bytes are cut into pieces;
// those who replay it try every cut.
//
// The cases hold for the default limits: 8 KiB of head, 64 headers, 2 KiB of
// URI, 64 KiB of message, 128 fragments, no known subprotocol.
//
// Read handshake.go, then stream.go.
package rfc6455
