package interop

import (
	"context"
	"errors"
	"net/http"

	"github.com/coder/websocket"
)

// coder is a conn of github.com/coder/websocket.
type coder struct {
	*websocket.Conn
	fragment int
}

func dialCoder(ctx context.Context, url string, o options) (wire, *http.Response, error) {
	opts := &websocket.DialOptions{HTTPHeader: http.Header{}, Subprotocols: o.subprotocols}
	if o.origin != "" {
		opts.HTTPHeader.Set("Origin", o.origin)
	}
	if o.deflate {
		opts.CompressionMode, opts.CompressionThreshold = websocket.CompressionContextTakeover, 1
	}
	c, resp, err := websocket.Dial(ctx, url, opts)
	if err != nil {
		return nil, resp, err
	}
	c.SetReadLimit(1 << 20)
	return &coder{c, o.fragment}, resp, nil
}

func kindOfCoder(m message) websocket.MessageType {
	if m.binary {
		return websocket.MessageBinary
	}
	return websocket.MessageText
}

// write with fragments ends in an empty one: so the library does it.
func (c *coder) write(m message) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.fragment == 0 {
		return c.Write(ctx, kindOfCoder(m), []byte(m.body))
	}
	w, err := c.Writer(ctx, kindOfCoder(m))
	if err != nil {
		return err
	}
	for body := m.body; body != ""; {
		n := min(c.fragment, len(body))
		if _, err := w.Write([]byte(body[:n])); err != nil {
			return err
		}
		body = body[n:]
	}
	return w.Close()
}

func (c *coder) read() (message, error) {
	kind, body, err := c.Read(context.Background())
	var end websocket.CloseError
	if errors.As(err, &end) {
		err = &closed{int(end.Code), end.Reason}
	}
	return message{kind == websocket.MessageBinary, string(body)}, err
}

func (c *coder) ping(ctx context.Context) error { return c.Ping(ctx) }

// close trusts the library, which compares the codes. It may have read the echo
// itself, so read cannot tell.
func (c *coder) close(_ context.Context, code int, reason string) error {
	return c.Close(websocket.StatusCode(code), reason)
}

func (c *coder) abort() { c.CloseNow() }
