//go:build linux

package main

import "time"

// promise is what a step of an event may do to clients, beside what nothing may ever do. Two steps with
// the same promise are one row of the table.
type promise struct {
	row    string
	closes bool // sockets may close; then messages of theirs may be unplaced, and who comes back resumes
	resets bool // rooms begin anew, and members are told; it must happen
	gaps   bool // members may be told that they missed something

	// p99 and longest bound the pause of rooms. Zero promises nothing.
	p99, longest time.Duration

	words string // what the table says is promised, where these bounds do not say it

	// waits is set where rooms may wait until the fault is over: then longest counts from there. Others
	// may go on before; until has what is promised to them.
	waits bool
	until time.Duration
}

// The rows of the promise table in DESIGN.md, and what is known of the rest.
var (
	shardJoins   = promise{row: "shard joins", p99: 50 * time.Millisecond}
	shardDrains  = promise{row: "shard drains", p99: 50 * time.Millisecond}
	shardsRolled = promise{row: "rolling deploy of shards", p99: 50 * time.Millisecond}
	shardKilled  = promise{row: "shard killed", longest: time.Second}
	leaderKilled = promise{row: "raft leader killed", longest: time.Second}
	shardSilent  = promise{row: "shard paused for 3 to 30 s", longest: 3 * time.Second}
	shardCut     = promise{row: "shard cut off", longest: 3 * time.Second}
	leaderSilent = promise{row: "raft leader paused", longest: 3 * time.Second}
	leaderCut    = promise{row: "raft leader cut off", longest: 3 * time.Second}
	nodeBack     = promise{row: "a paused or cut off node comes back", longest: time.Second}
	routerKilled = promise{row: "router killed; its clients resume", closes: true, words: "the reconnect"}
	routerDrains = promise{row: "router drains", closes: true}
	routerJoins  = promise{row: "router joins"}
	routerSilent = promise{row: "router paused", longest: time.Second, waits: true}
	routerCut    = promise{row: "router cut off", longest: 2 * time.Second, waits: true}
	splitBoth    = promise{row: "network splits both ways", words: "3 s, or 2 s from the healing", longest: 2 * time.Second, waits: true, until: 3 * time.Second}
	splitOneWay  = promise{row: "network splits one way", words: "3 s, or 2 s from the healing", longest: 2 * time.Second, waits: true, until: 3 * time.Second}
	splitHeals   = promise{row: "network heals", longest: 2 * time.Second}
	copiesLost   = promise{row: "every copy proved lost", resets: true, longest: time.Second}
	copiesSilent = promise{row: "every copy silent", words: "until heard, and 1 s", longest: time.Second, waits: true, until: 3 * time.Second}

	// Without a row there: nothing is promised of the pause.
	recovery   = promise{row: "killed node is started again", p99: 50 * time.Millisecond}
	likeDeath  = promise{row: "a firewall answers for living hosts with resets"}
	badNetwork = promise{row: "network loses packets or is slow"}
	exhausted  = promise{row: "descriptors or disk exhausted"}
	calm       = promise{row: "nothing happens"}
)

// bounds returns what the pauses of a step may be, p99 over rooms and the longest; zero for no bound.
func (p promise) bounds(lasts time.Duration) (p99, longest time.Duration) {
	if p.waits {
		return 0, max(p.until, lasts+p.longest)
	}
	return p.p99, p.longest
}
