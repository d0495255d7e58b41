// Package cluster says who is there (View), where partitions should live (Ring) and where they do
// (Table), on every node, and on one of them moves the Table towards the Ring.
//
//	memberlist ─▶ Gossip ─▶ View ─▶ Ring ─┐
//	links, probes, Witness frames ────────┴▶ Keeper ─orders─▶ Register ─▶ Table ─▶ deltas over links
//
// A View, a Ring and a Table are immutable values: whoever asks loads a pointer and never waits.
//
// # What is true
//
// The Register keeps the Table: one log of Commands, carried out by Table.Execute on all voters alike.
// Nothing becomes the Table that the Register did not commit, so of two copies the one with the higher
// Version is the newer truth, wherever it came from. Voters learn it from the Register, everybody else
// from deltas that the leader pushes; whatever gets lost is noticed by the announcement that every node
// sends twice a second, and fetched whole. Package cluster/register is the Register of real nodes, over
// raft; Local is one for tests.
//
// # Who decides
//
// The coordinator is the node that leads the Register, from its barrier on: then it knows everything
// that was committed before it. It decides on the Table that its own register has applied, one command
// at a time, and a command names the raft term and the row terms that it replaces, so that one that comes
// late changes nothing (rule R10). What to decide is package cluster/plan's: who owns and who follows, what
// is moved, and who votes. In one command goes all that is due: as nothing waits for a clock, commands are
// small while little happens, and while much does each takes what came during the last one.
//
//	a  Wish add s3, ready s4     a owns partitions and asks for other rows
//	l  Promise 17 t5, 18 t9      l leads; the owner of 17 and 18 is lost, and f follows them
//	f  Promised 17 t5, 18 t9     it takes nothing below these terms any more: now it can be the owner (rule R2)
//
// Where copies should be takes up to 0.2 s to work out. The coordinator hands that out (Keeper.Job),
// and plans nothing while it waits. It moves partitions, a few at a time, while no shard comes or goes.
//
// # Proof and silence
//
// A silent owner is succeeded by a follower that lives, which has promised to hear it no more. Where none
// does, a shard that is merely silent keeps all that it has, because on its side of a split it may be at
// work. Partitions begin anew elsewhere only where the death of all copies is proved (rule R9): a node said
// goodbye; a later run of it answers at its address, or holds its data directory; two nodes saw its link
// break and its port closed; or an operator said so (Forget). Gossip's verdict proves nothing. Silence is
// noticed by links: none for 1.5 s, or for 1 s when gossip too calls the node dead; it costs a voter its
// seat, which is given to another node, and is not judged by a leader in the first half second of its reign.
//
// # How a cluster begins
//
// The shard with the lowest name asks all shards that it sees whether they see the same ones. When all of
// them agree, and while no node in sight names an instance, it founds a register with itself as the only
// voter; the others follow as learners, then as voters. Who agreed is bound for a moment, so that two
// foundings never have a shard in common. When the majority of the voters is lost for good, the same
// conversation founds the next generation of the same instance from the newest copy of the Table that any
// living node holds (Recover). Every term and Version of the new generation is above all of the old one,
// and a node that comes back with a log of the old one drops it. A cluster with one voter recovers
// without being asked when the log of that voter is lost for certain.
//
// # What this package is not
//
// It opens no links and knows no rooms: frames come in through HandleFrame and leave through Config.Send,
// and addresses are probed by who asks for Probes. It does not know raft.
//
// Read node.go, view.go, ring.go, table.go and command.go for the values, and wire.go for their bytes;
// register.go and local.go for what keeps the Table; keeper.go, then copy.go (how copies of the Table travel),
// deaths.go and fate.go (who is dead), apart.go (who does not reach whom), coordinator.go (what is decided)
// with failover.go, wishes.go and moves.go, and founding.go (how it begins), for what happens, and notice.go
// for what is said of it; cluster.go for the goroutine around it; membership.go for who is there, with
// gossip.go, metadata.go, seeds.go, transport.go, gossiplog.go and gossipstats.go for memberlist; document.go and
// stats.go for what operators see.
package cluster
