package router_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
)

// A router serves clients on a listener. Its lanes are given to link.NewMesh, and
// the Table to SetTable; while it has no link to a shard it says so.
func ExampleRouter() {
	r, err := router.New(router.Config{Self: proto.MakeNodeName("r1", 1)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- r.Run(ctx, ln) }()

	answer, err := http.Get("http://" + ln.Addr().String() + "/healthz")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	fmt.Print(answer.StatusCode, " ", string(body))

	stop()
	<-done
	// Output: 503 {"status":"no_links"}
}
