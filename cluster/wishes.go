package cluster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	// wishFor is how long a wish is kept that cannot be granted yet. Its owner repeats it sooner.
	wishFor = 500 * time.Millisecond

	// maxWishes bounds the wishes of one partition.
	maxWishes = 4

	// restFor is how long a partition is not moved whose owner gave a move up.
	restFor = 5 * time.Second
)

// wishes are what owners want of their rows, by partition. All are answered in the next command, or
// dropped; only one about a follower that we have not lost yet is kept for a moment.
type wishes map[proto.Partition][]wish

type wish struct {
	proto.Wish
	from proto.NodeName
	at   time.Time
}

// onWish takes wishes of a row's owner, made in the row's term. All others are history, or a mistake.
func (k *Keeper) onWish(now time.Time, from proto.NodeName, body []byte) error {
	list, err := proto.ParseWishes(body)
	if err != nil {
		return err
	}
	if k.reg.Term == 0 || k.table == nil {
		return nil // it is said again to who leads then
	}
	for _, x := range list {
		if int(x.Partition) >= k.table.Partitions() {
			continue
		}
		if row := k.table.rows.At(x.Partition); row.Owner == from && row.Term == x.Term {
			k.lead.wishes.note(wish{x, from, now})
			k.lead.hurry = true
		}
	}
	return nil
}

func (w wishes) note(x wish) {
	same := func(o wish) bool { return o.Kind == x.Kind && o.Node == x.Node }
	list := slices.DeleteFunc(w[x.Partition], same)
	if len(list) < maxWishes {
		list = append(list, x)
	}
	w[x.Partition] = list
}

// grant answers the wishes that there are: one for each partition.
func (k *Keeper) grant(now time.Time, d *draft) {
	if len(k.lead.wishes) == 0 {
		return
	}
	for _, p := range slices.Sorted(maps.Keys(k.lead.wishes)) {
		list := k.lead.wishes[p]
		row := d.table.rows.At(p)
		stale := func(x wish) bool { return x.from != row.Owner || x.Term != row.Term || now.Sub(x.at) >= wishFor }
		if list = slices.DeleteFunc(list, stale); len(list) == 0 {
			delete(k.lead.wishes, p)
			continue
		}
		if d.changed[p] || !d.scene.Fit(row.Owner) {
			continue // a lost owner's last wish might take the last copy that lives out of the row
		}
		for i := range list {
			if k.grantOne(now, d, row, &list[i].Wish) {
				k.stats.WishesGranted[list[i].Kind].Add(1)
				k.lead.news.add(now, report{list[i].Kind, list[i].Node})
				break
			}
		}
		list = slices.DeleteFunc(list, func(x wish) bool { return d.changed[p] || x.Kind != proto.WishDrop })
		if k.lead.wishes[p] = list; len(list) == 0 {
			delete(k.lead.wishes, p)
		}
	}
}

func (k *Keeper) grantOne(now time.Time, d *draft, row *Row, x *proto.Wish) bool {
	move := d.table.Move(x.Partition)
	a, ok := plan.Grant(x, row, move, d.scene)
	if !ok {
		return false
	}
	if a.Row.Term != 0 {
		d.change(plan.Change{Partition: x.Partition, Replaces: row.Term, Row: a.Row})
	}
	if a.Ends {
		d.end(x.Partition)
	}
	if a.Freezes {
		move.State = plan.Freezing
		d.command.Moves = append(d.command.Moves, move)
	}
	if x.Kind == proto.WishUndo {
		k.lead.moving.rest[x.Partition] = now.Add(restFor)
	}
	return true
}

// report is what is logged of wishes that were granted, for how many partitions.
type report struct {
	kind proto.WishKind
	node proto.NodeName
}

var granted = map[proto.WishKind]string{
	proto.WishDrop:    "a lost follower is dropped",
	proto.WishOverdue: "a follower is dropped that was too slow",
	proto.WishAdd:     "a follower is in sync",
	proto.WishReady:   "partitions were handed over",
	proto.WishUndo:    "a hand-off took too long and is put off",
	proto.WishRenew:   "owners go on whose followers had promised another term",
}

// news are the wishes that were granted and are not logged yet: a shard that comes or goes leads to
// hundreds of commands, which are one thing to people.
type news struct {
	counts map[report]int
	first  time.Time // when the oldest was granted
	last   time.Time // and the newest
}

const (
	newsQuiet = 500 * time.Millisecond // without more, news are logged
	newsAge   = 5 * time.Second        // and after so long anyway
)

func (n *news) add(now time.Time, r report) {
	if n.counts == nil {
		n.counts, n.first = make(map[report]int), now
	}
	n.counts[r]++
	n.last = now
}

// reportWishes logs news, by kind and node.
func (k *Keeper) reportWishes(now time.Time) {
	n := &k.lead.news
	if n.counts == nil || now.Sub(n.last) < newsQuiet && now.Sub(n.first) < newsAge {
		return
	}
	order := func(a, b report) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.node, b.node)) }
	for _, r := range slices.SortedFunc(maps.Keys(n.counts), order) {
		k.log.Info(granted[r.kind], zap.String("node", string(r.node)), zap.Int("partitions", n.counts[r]), zap.Duration("within", n.last.Sub(n.first)))
	}
	*n = news{}
}
