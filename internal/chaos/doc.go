// Chaos does to a live cluster what its promises are about. It builds the three programs, starts nodes as
// processes, drives them with roomring verify, kills, stops, drains and cuts off nodes by a schedule that
// is a function of a seed, and holds what verify saw against what was promised.
//
//	go run ./internal/chaos                        each fault once, in an order of chance
//	go run ./internal/chaos -seed 7 -only split    one kind of fault, as often as it takes
//	go run ./internal/chaos -for 1h                as many rounds as fit
//	go run ./internal/chaos -ci                    each kind once, with short times; about three minutes
//	go run ./internal/chaos -table -runs 10        the promise table, with figures
//	go run ./internal/chaos -list                  the faults there are
//
// It needs Linux. The run takes place in process, mount and network namespaces of its own, made for root,
// or for anybody where the system lets users have namespaces: each node has an address, and between them
// iptables cuts. The kernel takes all of it away when the run's first process ends, however that ends.
// Where namespaces cannot be had, what needs no network runs on loopback, and the rest is named.
//
// A round is a cluster of three shards and two routers, one run of verify, and some events. Between two
// events the cluster is settled. An event consists of steps (a shard is stopped; it wakes), each with the
// promise it is judged by. Whatever happens, no message may be lost, doubled, reordered, altered or
// invented, no two members may disagree, no process may end that was not ended, and no log may hold a
// panic or a secret. Pauses are figures beside the promises; only -strict makes them failures. A fault that
// left no trace, a rule that no packet met, a process that did not stop, fails the run, too.
//
// Read fault.go (what can go wrong) and schedule.go (what chance makes of it), promise.go and judge.go
// (what is expected); guard.go (who holds the run, and cleans up), stage.go (where it takes place),
// network.go, process.go, node.go, cluster.go and ring.go (what is there), traffic.go (verify); then the
// faults as they are played: deaths.go, silence.go, moves.go, cuts.go, limits.go, and evidence.go; round.go,
// table.go and logs.go come last.
package main
