package cluster

import (
	"context"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// clerk stands for the shard beside a Cluster: whatever a move wants is done at once. It ends with ctx.
func clerk(ctx context.Context, c *Cluster, send func(to proto.NodeName, frame []byte)) {
	changed, stop := c.Watch()
	defer stop()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		if list, leader := moved(c.Table(), c.cfg.Self.Name), c.Stance().Leader; leader != "" && len(list) > 0 {
			send(leader, proto.AppendWishes(nil, list))
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// moved is what the owner wishes once its moves are done.
func moved(t *Table, owner proto.NodeName) (list []proto.Wish) {
	if t == nil {
		return nil
	}
	for _, m := range t.Moves {
		row, kind := t.Row(m.Partition), proto.WishAdd
		if m.State == plan.Freezing {
			kind = proto.WishReady
		}
		if row.Owner == owner {
			list = append(list, proto.Wish{Partition: m.Partition, Term: row.Term, Kind: kind, Node: m.To})
		}
	}
	return list
}

// promiseAll is the answer of a follower that promises whatever it is asked.
func promiseAll(body []byte) []byte {
	list, err := proto.ParsePromises(body)
	if err != nil {
		panic(err)
	}
	return proto.AppendPromised(nil, list)
}
