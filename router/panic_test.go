package router

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/internal/rfc6455"
)

// A panic ends the conn that it came from, is counted, and harms nobody else;
// also while the conn changes its lane.
func TestPanicsAreContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{Self: "r1/0000000000001", Lanes: 2, Partitions: 32, Portable: true})
		if err != nil {
			t.Fatal(err)
		}
		r.cfg.Partitions = 33 // not what the hubs think: they panic for rooms on the wrong lane
		network := memnet.New()
		ln, err := network.Listen("10.0.0.1:8000")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.Run(ctx, ln)
		}()
		unanswered, refused := 0, 0
		for i := range 40 {
			c, err := network.DialContext(t.Context(), "10.0.0.1:8000")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, rfc6455.Request(fmt.Sprint("/ws?room=", i)))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			switch {
			case err != nil:
				unanswered++
			case resp.StatusCode == http.StatusServiceUnavailable:
				refused++
			default:
				t.Errorf("answer %s", resp.Status)
			}
			c.Close()
		}
		time.Sleep(time.Minute)
		stats, err := r.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		inLoop := stats[0].Loop.Panics + stats[1].Loop.Panics
		between := stats[0].Conns.Panics + stats[1].Conns.Panics
		if inLoop == 0 || between == 0 || inLoop+between != uint64(unanswered) || refused == 0 {
			t.Errorf("%d panics in loops and %d between them; %d conns unanswered, %d refused", inLoop, between, unanswered, refused)
		}
		if n := r.Conns(); n != 0 || stats[0].Conns.Conns+stats[1].Conns.Conns != 0 {
			t.Errorf("%d conns are left", n)
		}
		stop()
		<-ended
	})
}
