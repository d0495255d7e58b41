package proto

import "encoding/binary"

// WishKind is what an owner wants done to its row of the Table.
type WishKind uint8

// The kinds of wishes.
const (
	WishDrop    WishKind = iota + 1 // take follower Node out: its link is lost
	WishOverdue                     // the same, and whether the coordinator hears of Node does not matter: it has not followed for too long
	WishAdd                         // Node has learned all that is committed: let it be in sync
	WishReady                       // nothing is sequenced any more and Node has everything: let it be the owner
	WishUndo                        // the hand-off to Node takes too long: end the move
	WishRenew                       // a follower promised the term Above, and no such term came: say the row again, above it
)

// String names the kind in logs.
func (k WishKind) String() string {
	switch k {
	case WishDrop:
		return "drop"
	case WishOverdue:
		return "drop overdue"
	case WishAdd:
		return "add"
	case WishReady:
		return "ready"
	case WishUndo:
		return "undo"
	case WishRenew:
		return "renew"
	}
	return "unknown"
}

// Wish is what the owner of a partition asks the coordinator for. It is
// repeated until a newer term answers it.
type Wish struct {
	Partition Partition
	Term      Term // of the row that is to be replaced
	Kind      WishKind
	Above     Term     // of WishRenew: the new term must be above it; else 0
	Node      NodeName // "" for WishRenew
}

// wishMin is the size of the shortest wish.
const wishMin = 2 + 8 + 1 + 8 + 1

// WishSize is what a wish takes in a frame, in bytes.
func WishSize(x *Wish) int { return wishMin + len(x.Node) }

// AppendWishes appends a Wish frame; the caller sees to it that it is not
// longer than MaxFrame.
func AppendWishes(b []byte, wishes []Wish) []byte {
	b, start := Begin(b, FrameWish)
	for i := range wishes {
		x := &wishes[i]
		b = appendHead(b, x.Partition, x.Term)
		b = append(b, byte(x.Kind))
		b = binary.BigEndian.AppendUint64(b, uint64(x.Above))
		b = append(append(b, byte(len(x.Node))), x.Node...)
	}
	return End(b, start)
}

// ParseWishes reads the body of a Wish. Names are well formed.
func ParseWishes(body []byte) ([]Wish, error) {
	f := fields{b: body}
	wishes := make([]Wish, 0, len(body)/(wishMin+16))
	for len(f.b) > 0 && !f.bad {
		var x Wish
		x.Partition, x.Term = f.head()
		x.Kind, x.Above = WishKind(f.u8()), Term(f.u64())
		name := string(f.take(int(f.u8())))
		if f.bad {
			break
		}
		renew := x.Kind == WishRenew
		if x.Kind < WishDrop || x.Kind > WishRenew || (name == "") != renew || x.Above != 0 && !renew {
			return nil, ErrValue
		}
		if name != "" {
			var err error
			if x.Node, err = ParseNodeName(name); err != nil {
				return nil, err
			}
		}
		wishes = append(wishes, x)
	}
	return wishes, f.end()
}

// PromiseStatus is what a follower answers to the coordinator's Promise.
type PromiseStatus uint8

// The answers.
const (
	Promised    PromiseStatus = iota // nothing below the term is taken any more
	NoCopy                           // there is no whole copy here
	KnowsHigher                      // the term is not above one that is known here
)

// Promise asks for one partition's promise, or answers it.
type Promise struct {
	Partition Partition
	Term      Term
	Status    PromiseStatus // of the answer
}

const (
	promiseSize  = 2 + 8
	promisedSize = promiseSize + 1
)

// AppendPromises appends a Promise frame: the coordinator asks.
func AppendPromises(b []byte, list []Promise) []byte {
	b, start := Begin(b, FramePromise)
	for _, x := range list {
		b = appendHead(b, x.Partition, x.Term)
	}
	return End(b, start)
}

// ParsePromises reads the body of a Promise.
func ParsePromises(body []byte) ([]Promise, error) {
	f := fields{b: body}
	list := make([]Promise, 0, len(body)/promiseSize)
	for len(f.b) > 0 && !f.bad {
		var x Promise
		x.Partition, x.Term = f.head()
		list = append(list, x)
	}
	return list, f.end()
}

// AppendPromised appends a Promised frame: the follower answers.
func AppendPromised(b []byte, list []Promise) []byte {
	b, start := Begin(b, FramePromised)
	for _, x := range list {
		b = append(appendHead(b, x.Partition, x.Term), byte(x.Status))
	}
	return End(b, start)
}

// ParsePromised reads the body of a Promised.
func ParsePromised(body []byte) ([]Promise, error) {
	f := fields{b: body}
	list := make([]Promise, 0, len(body)/promisedSize)
	for len(f.b) > 0 && !f.bad {
		var x Promise
		x.Partition, x.Term = f.head()
		x.Status = PromiseStatus(f.u8())
		if x.Status > KnowsHigher {
			return nil, ErrValue
		}
		list = append(list, x)
	}
	return list, f.end()
}
