// Package interop tests Roomring with WebSocket clients that nobody here wrote:
// github.com/coder/websocket, github.com/gorilla/websocket and npm's ws. It runs
// the real roomring dev over real sockets and holds it to what the README
// promises to raw clients. It has nothing that others could import.
//
// It is a module of its own, so that the clients it needs are no dependencies
// of Roomring. Run it with
//
//	make interop
//
// which is npm ci and go test in this folder. Node 20 or newer is needed.
//
// Read cluster_test.go (what runs), library_test.go (what a client can do, with
// coder_test.go and gorilla_test.go behind it), raw_test.go and resume_test.go
// (one library at a time), order_test.go (several at once), ws.test.mjs (the
// same for npm's ws, started by ws_test.go), bench_test.go.
package interop
