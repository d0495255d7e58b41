// Command compare measures what a delivery costs Roomring, next to the least that any room server can
// do on the same machine, and next to a proxy in front of that.
//
//	go run ./internal/compare              # 5 rounds of everything, then a table
//	go run ./internal/compare -pairs 1 -scenarios fanout -subjects roomring
//
// A machine shared with others is fast in one minute and slow in the next. So all subjects take turns,
// every run starts its servers anew, and what counts is the ratio to the bare loop's run in the same
// round. The servers share one core and the load has another one, so that the load can fill the servers'
// core without taking from it.
//
// It is no test of what is promised; `roomring verify` is. It counts what is missing or out of order,
// lest a server looks fast that drops messages.
//
// It needs Linux 5.11 or newer, two cores and Go; nginx and HAProxy are measured if they are installed.
// It needs no root, listens on loopback alone, and leaves nothing behind.
//
// Read main.go (what can be asked for), round.go (who is measured when), subject.go and proxy.go (the
// servers), process.go (where they run), bare.go (the bare loop), scenario.go and load.go (what is sent
// to them), frame.go and epoll.go, system.go (what the kernel counts), statistics.go and report.go.
package main
