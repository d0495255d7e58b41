package room_test

import (
	"fmt"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// A log keeps what is within its bounds, and is read by cursor.
func Example() {
	store := room.NewStore(room.Config{HistoryMessages: 2, WindowAge: -1})
	var log room.Log
	log.Init(proto.MintEpoch(42))
	for _, s := range []string{"one", "two", "three"} {
		store.Append(&log, &room.Message{Payload: []byte(s)})
		store.Trim(&log, 0)
	}
	messages, last := log.Read(nil, log.First()-1, log.Head(), 1<<20, 0)
	fmt.Println(log.First(), log.Head(), last, len(messages))
	// Output: 2 3 3 34
}
