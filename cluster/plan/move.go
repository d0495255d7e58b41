package plan

import "github.com/roomring/roomring/proto"

// MoveState is how far a planned move is. The zero MoveState has not begun.
type MoveState uint8

// The states of a move that is under way.
const (
	Learning MoveState = iota + 1 // the target copies the partition
	Freezing                      // the owner has stopped sequencing and drains to the target
)

// String names the state as documents do; the zero MoveState is "none".
func (s MoveState) String() string {
	switch s {
	case Learning:
		return "learning"
	case Freezing:
		return "freezing"
	}
	return "none"
}

// Move is a planned hand-off of a partition between two living shards.
type Move struct {
	Partition proto.Partition
	From, To  proto.NodeName
	State     MoveState
}

// Moves returns what a rebalancing would do, in the order of partitions: each partition whose owner
// lives, while another living shard is wanted, is handed from the one to the other. A partition
// whose owner does not live is no hand-off; Decide and time see to it. A draining shard is rid of
// its partitions by not being wanted.
func Moves(rows []Row, verdict func(proto.NodeName) Verdict, wanted func(proto.Partition) proto.NodeName) []Move {
	var moves []Move
	for i, row := range rows {
		p := proto.Partition(i)
		if row.Owner == "" || verdict(row.Owner) != Lives {
			continue
		}
		if to := wanted(p); to != "" && to != row.Owner && verdict(to) == Lives {
			moves = append(moves, Move{Partition: p, From: row.Owner, To: to})
		}
	}
	return moves
}
