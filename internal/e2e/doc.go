// Package e2e has no code of its own: its tests run Roomring as its users do. The three programs are
// built once, started as processes, and met on real sockets of 127.0.0.1. What a test can show inside
// one process is shown elsewhere; here is what needs a kill, a signal, a limit of the system, or many
// processes.
//
//	go test ./internal/e2e                                      what must always hold, under a minute
//	go test ./internal/e2e -run TestHardening -hardening -v     what may cost what, with figures
//	go test ./internal/e2e -run 'TestTwoKilled|TestLeader' -figures -parallel 1 -v    all pairs of five voters, 20 dead leaders
//	go test ./internal/e2e -run 'TestShard|TestDrainAndJoin' -figures -parallel 1 -v  20 dead shards, 10 drains and joins, frozen ones; pauses
//	go test ./internal/e2e -run TestWatched -figures -v         what it costs to be looked at, 20 times on and off
//	go test ./internal/e2e -run TestIdle -idle -v               76,000 conns that say nothing
//	go test ./internal/e2e -run TestBalancer -balancers -v      nginx and HAProxy before routers, as deploy has them; needs both, and root
//	go test ./internal/e2e -run TestWalkthrough -walkthrough -v  every command of docs/walkthrough.md and the README; needs root and more
//
// Tests wait for events, each with a deadline. A process dies with the test binary, however that ends.
// After all tests, everything that any process logged is searched for the keys and tokens in use.
//
// Read process_test.go (a process and its log), cluster_test.go (nodes that join each other),
// client_test.go (a WebSocket and what it heard), traffic_test.go (many raw ones, and how long each room
// stood still), then the tests: ring; of rooms that move kill (load is there), handoff, drain, deploy,
// copies, freeze, publish; stall, command; of what operators see agreement and watched; of the register council (its leader and voters), majority
// (what is left without one), forget, instance (two clusters that meet), rotation (of keys, by restarts and
// by signals), stranger and certificate (who is kept out); hardening and idle come last, and balancer, which
// puts the proxies of balancer_proxy_test.go before routers. walkthrough and readme type what documents say.
package e2e
