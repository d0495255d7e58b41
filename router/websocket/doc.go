// Package websocket reads and writes the bytes of a client's connection: the
// HTTP request that opens it and the WebSocket frames that follow (RFC 6455).
//
// It is parsed incrementally: the caller hands over whatever bytes arrived and
// gets back what they meant and how many of them are used up. It is strict:
// what the standard forbids ends the connection with the code that the standard
// names, and every size, count and time has a bound (Limits).
//
// It does no I/O, starts no goroutine and reads no clock: time is an argument.
// It knows nothing of rooms beyond the names in a query, and decides nothing
// about trust: addresses and origins are judged by pure functions that the
// caller feeds with its own configuration.
//
// How the bytes are cut into pieces never changes the outcome: the same bytes
// give the same messages and the same error, whole or one at a time.
//
// Read request.go (the head of a request), query.go (what /ws asks for),
// upgrade.go (what makes it a WebSocket), publish.go and body.go (a message over
// plain HTTP), answer.go (what we say back), then
// frame.go (what we send), reader.go (what we hear), unfinished.go (a message
// that arrives in pieces) and mask.go. limits.go has the bounds, token.go the
// words that a head is made of; origin.go, forwarded.go and proxy.go (what a proxy
// says in front of all that) stand alone.
package websocket
