// Package register keeps the cluster's Table in raft: it is the cluster.Register of real nodes, over
// hashicorp/raft.
//
// The state machine's state is one immutable *cluster.Table. An entry of the log is a
// cluster.Command; what it does is decided in package cluster, not here. This package knows how a
// log begins (a founding), how it survives a restart (a data directory) and how it ends (a reset),
// and it keeps raft's promise where raft alone cannot:
//
//   - A voter is named after the run that first held its log. Raft cannot tell an emptied voter from
//     the one that it was; whoever lost its log therefore has another name, and a stream is only let
//     in when it names the run and the founding that it means (package link judges that).
//   - A vote is one record, so that a crash cannot leave half of one.
//   - A failed write ends raft's own goroutine before it can answer (store.go); raft is then started
//     again from what is on disk, as after a crash.
//
// It decides nothing about the cluster: who should vote, when to found and what to propose comes as
// orders from cluster.Keeper.
//
// Read register.go, then order.go for what can be asked of it; life.go for one raft instance,
// quicken.go for its elections and state.go for its state machine; store.go, directory.go and snapshot.go for what is kept where;
// streams.go and log.go for how raft talks, stats.go for what is shown of it.
package register
