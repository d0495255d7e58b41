package admin_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

// node is what a process knows of itself and its cluster.
type node struct{ admin.Source }

func (node) Ring(withTable bool) any { return map[string]any{"cluster": "example", "settled": true} }
func (node) Ready() (bool, []string) { return false, []string{"no_links"} }
func (node) Health() (bool, string)  { return true, "" }

func (node) Room(_ context.Context, name string) (admin.RoomDocument, error) {
	return admin.RoomDocument{}, &proto.Error{Code: proto.NotFound, Op: "room"}
}

func (node) Forget(_ context.Context, name string) (admin.ForgetDocument, error) {
	return admin.ForgetDocument{}, admin.UnknownNode(name)
}

func (node) Recover(context.Context) (admin.RecoverDocument, error) {
	return admin.RecoverDocument{}, admin.HasMajority("s1/0123456789abc")
}

// A server is made from what the node knows; Run then serves a listener.
func Example() {
	s, err := admin.New(admin.Config{Listen: "127.0.0.1:8001", Source: node{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, path := range []string{"/v1/ring", "/readyz", "/v1/room?room=lobby"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "127.0.0.1:8001"
		s.Handler().ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 {"cluster":"example","settled":true}
	// 503 {"ready":false,"reasons":["no_links"],"messages":{"no_links":"no shard is linked"}}
	// 404 {"error":{"code":"not_found","message":"no such room"}}
}

// Outside of loopback a token is needed.
func ExampleCheckConfig() {
	fmt.Println(admin.CheckConfig(admin.Config{Listen: "0.0.0.0:8001"}))
	fmt.Println(admin.CheckConfig(admin.Config{Listen: "0.0.0.0:8001", ReadToken: "for-the-scraper"}))
	// Output:
	// --admin 0.0.0.0:8001 is not a loopback address: set --admin-token or --admin-read-token
	// <nil>
}
