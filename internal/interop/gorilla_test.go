package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// gorilla is a conn of github.com/gorilla/websocket.
type gorilla struct {
	*websocket.Conn
	pongs chan string
	ends  chan int // the code of the server's close frame
}

// dialGorilla sets the size of fragments by the write buffer: what does not fit
// goes out as a fragment. Its default of 4 KiB cuts long messages too.
func dialGorilla(ctx context.Context, url string, o options) (wire, *http.Response, error) {
	d := websocket.Dialer{Subprotocols: o.subprotocols, EnableCompression: o.deflate, WriteBufferSize: o.fragment}
	header := http.Header{}
	if o.origin != "" {
		header.Set("Origin", o.origin)
	}
	c, resp, err := d.DialContext(ctx, url, header)
	if err != nil {
		return nil, resp, err
	}
	g := &gorilla{c, make(chan string, 1), make(chan int, 1)}
	c.SetPongHandler(func(payload string) error {
		g.pongs <- payload
		return nil
	})
	return g, resp, nil
}

func (g *gorilla) write(m message) error {
	kind := websocket.TextMessage
	if m.binary {
		kind = websocket.BinaryMessage
	}
	g.SetWriteDeadline(time.Now().Add(patience))
	return g.WriteMessage(kind, []byte(m.body))
}

func (g *gorilla) read() (message, error) {
	kind, body, err := g.ReadMessage()
	var end *websocket.CloseError
	if errors.As(err, &end) {
		err = &closed{end.Code, end.Text}
		g.ends <- end.Code
	}
	return message{kind == websocket.BinaryMessage, string(body)}, err
}

func (g *gorilla) ping(ctx context.Context) error {
	const payload = "an 8-bit clean payload \x00\xff"
	if err := g.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(patience)); err != nil {
		return err
	}
	select {
	case got := <-g.pongs:
		if got != payload {
			return errors.New("the pong is not the ping")
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gorilla) close(ctx context.Context, code int, reason string) error {
	if err := g.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(patience)); err != nil {
		return err
	}
	select {
	case got := <-g.ends:
		if got != code {
			return fmt.Errorf("close %d was answered with %d", code, got)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gorilla) abort() { g.Close() }
