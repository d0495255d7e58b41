package websocket_test

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/router/websocket"
)

// A connection's bytes arrive in any pieces; here the request and the first
// frame come at once.
func Example() {
	arrived := []byte("GET /ws?room=lobby HTTP/1.1\r\nHost: example.com\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" +
		"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
	limits := &websocket.Limits{}

	req, n, refused := websocket.ParseRequest(arrived, limits)
	if refused != nil {
		fmt.Printf("%s", websocket.AppendError(nil, refused))
		return
	}
	fmt.Println("joins", req.Room)
	_ = websocket.AppendSwitching(nil, req.Key, req.Subprotocol) // to the client

	var reader websocket.Reader
	for rest := arrived[n:]; ; {
		event, n, broken := reader.Next(rest, limits, time.Unix(0, 0))
		if broken != nil {
			_ = websocket.AppendClose(nil, broken.Code, broken.Reason) // to the client
			return
		}
		if event.Type == websocket.EventNone {
			return // until more bytes arrive
		}
		fmt.Printf("says %s\n", event.Payload)
		rest = rest[n:]
	}
	// Output:
	// joins lobby
	// says Hello
}
