package router

import "time"

const (
	// keyTime is how long an idempotency key is remembered from its first use.
	keyTime = 5 * time.Minute
	// maxRoomKeys and maxRoomKeyBytes bound the keys remembered of one room.
	maxRoomKeys     = 1000
	maxRoomKeyBytes = 512 << 10
	// keyCost is what a remembered key counts beside its own and its room's
	// bytes: its struct, and its place in two maps.
	keyCost = 256
)

// keys remembers, for keyTime each, what became of the messages that came with
// an idempotency key, so that who asks again gets the same answer and the
// message is not published twice. There is one per lane, which is enough:
// a room's messages all come to its lane.
//
// It forgets nothing early. When it is full, new keys are refused: to forget a
// young one would be to publish its message again. It is a pure core: time is an
// argument.
//
// Invariant: oldest to newest is in order of time, and has what byName has.
type keys struct {
	limit int // of held

	byName         map[keyName]*remembered
	rooms          map[string]roomKeys
	oldest, newest *remembered
	held           int // bytes
}

type keyName struct{ room, key string }

// roomKeys is what is remembered of one room.
type roomKeys struct{ keys, bytes int }

// digest is a hash of all that makes two messages the same.
type digest [32]byte

// remembered is a key: the message under way, or what became of it.
type remembered struct {
	name         keyName
	digest       digest
	first        time.Time // when it was used first
	post         *post     // nil: it has its outcome
	outcome      outcome
	older, newer *remembered
	forgotten    bool
}

func (r *remembered) cost() int { return keyCost + len(r.name.room) + len(r.name.key) }

// recall is what a key is found to be.
type recall uint8

const (
	recallNew      recall = iota // remembered from now on
	recallSame                   // used before, with the same message
	recallOther                  // used before, with another message
	recallRoomFull               // not remembered: the room has too many
	recallFull                   // not remembered: all rooms together have
)

// use looks a key up, or begins to remember it. The result is nil when the key
// is refused.
func (k *keys) use(name keyName, d digest, now time.Time) (*remembered, recall) {
	k.expire(now)
	if r := k.byName[name]; r != nil {
		if r.digest != d {
			return nil, recallOther
		}
		return r, recallSame
	}
	r := &remembered{name: name, digest: d, first: now, older: k.newest}
	cost := r.cost()
	room := k.rooms[name.room]
	switch {
	case room.keys >= maxRoomKeys || room.bytes+cost > maxRoomKeyBytes:
		return nil, recallRoomFull
	case k.held+cost > k.limit:
		return nil, recallFull
	}
	if k.byName == nil {
		k.byName, k.rooms = map[keyName]*remembered{}, map[string]roomKeys{}
	}
	k.byName[name] = r
	k.rooms[name.room] = roomKeys{room.keys + 1, room.bytes + cost}
	k.held += cost
	if k.newest != nil {
		k.newest.newer = r
	} else {
		k.oldest = r
	}
	k.newest = r
	return r, recallNew
}

// forget gives a key up before its time: its message was never published, and
// may be when it comes again.
func (k *keys) forget(r *remembered) {
	if r.forgotten {
		return
	}
	r.forgotten = true
	if r.older != nil {
		r.older.newer = r.newer
	} else {
		k.oldest = r.newer
	}
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		k.newest = r.older
	}
	r.older, r.newer = nil, nil
	delete(k.byName, r.name)
	k.held -= r.cost()
	room := k.rooms[r.name.room]
	room.keys, room.bytes = room.keys-1, room.bytes-r.cost()
	if k.rooms[r.name.room] = room; room.keys == 0 {
		delete(k.rooms, r.name.room)
	}
	if len(k.byName) == 0 {
		k.byName, k.rooms = nil, nil // maps keep what they grew to
	}
}

// expire forgets the keys whose time is over.
func (k *keys) expire(now time.Time) {
	for k.oldest != nil && now.Sub(k.oldest.first) >= keyTime {
		k.forget(k.oldest)
	}
}
