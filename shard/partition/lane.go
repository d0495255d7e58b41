package partition

import (
	"math/rand/v2"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// The bounds that are not in Config.
const (
	// maxMessage still fits a Deliver frame, whatever the room's name.
	maxMessage = proto.MaxFrame - 512
	// maxDeliver is where a Deliver, Fetched or Attached frame ends, unless a
	// single message is bigger: so that no room holds up the others of a link.
	maxDeliver = 256 << 10
	// maxHeld bounds the held frames of a partition and maxHeldAll those of the
	// lane, in bytes. Beyond it publishes are dropped, their router is told to
	// hold them; other frames may take as much again, then the link is closed.
	maxHeld    = 1 << 20
	maxHeldAll = 32 << 20
	// maxFetches bounds the unanswered Fetches of a link, maxAnswers its unread
	// refusals, maxEarly the member counts that came before their Attach.
	// Beyond the first two the link is closed; of the third, news are dropped.
	maxFetches = 16 << 10
	maxAnswers = 64 << 10
	maxEarly   = 4096
	// maxRouters bounds the publisher tables: every router incarnation that
	// passed the hello is one, until 10 minutes after it left. Beyond it, the
	// one that came first and has no link is forgotten early.
	maxRouters = 4096
	// maxRefused is how many of a publisher's refusals are remembered, to be
	// told again when it sends the publish again.
	maxRefused = 64
	// tickRooms and tickCursors bound what one Tick looks at.
	tickRooms   = 4096
	tickCursors = 4096
	// maxSeen bounds the rooms that one call of Rooms looks at, but for the
	// last partition.
	maxSeen = 16 << 10
	// publisherAge is how long a publisher is remembered after its router left.
	publisherAge = 10 * time.Minute
	// settleAge: no room is forgotten so soon after its partition's term
	// changed, because routers are still attaching.
	settleAge = 30 * time.Second
)

// Config is what a lane is told once. The zero value works, and owns nothing:
// a lane owns what SetTable gives to Self.
type Config struct {
	// Self is this process as the Table names it.
	Self proto.NodeName
	// Lane is the number of this lane, below Lanes. It serves the partitions p
	// with p % Lanes == Lane.
	Lane int
	// Lanes is how many lanes this shard has. If zero, 1.
	Lanes int
	// Partitions is the cluster's partition count. If zero, proto.Partitions.
	Partitions int
	// Rooms bounds the rooms of the whole shard; a lane takes its even share,
	// rounded up. Beyond it, what would create a room is refused with
	// proto.Full. If zero, 1,000,000.
	Rooms int
	// MaxMessage is the largest payload in bytes; a bigger one is refused with
	// proto.TooBig. If zero or above what a Deliver frame holds, that.
	MaxMessage int

	// HistoryMessages, HistoryBytes (of payload) and HistoryAge say which
	// messages are a room's history: those that satisfy all three. If zero,
	// 1000, 1 MiB and 5 minutes. A room with no router attached and nothing
	// published for HistoryAge is forgotten.
	HistoryMessages int
	HistoryBytes    int
	HistoryAge      time.Duration
	// WindowAge and WindowBytes say what is kept beyond history: messages
	// younger than WindowAge, as long as the room keeps no more than
	// WindowBytes. If zero, 10 seconds and 8 MiB; negative means no window.
	WindowAge   time.Duration
	WindowBytes int
	// WindowTotal bounds, in bytes, what all rooms of this lane keep beyond
	// their history. If zero, a quarter of Total.
	WindowTotal int64
	// Total bounds the memory of all logs of this lane, in bytes. Over it, the
	// oldest chunk of all rooms goes first. If zero, 256 MiB.
	Total int64

	// Bits returns 64 random bits for each new epoch. If nil, math/rand/v2.
	Bits func() uint64
	// Break switches a rule off, for simulation alone.
	Break Break
}

// Break names rules that can be switched off so that a test can see its
// checkers catch it.
type Break uint8

// The rules that can be broken.
const (
	BreakDedup Break = 1 << iota // take any seq: R8 off
	BreakFence                   // take frames of old terms
	BreakGap                     // go on behind a gap without saying so
)

// Lane is the partitions of one lane at their shard. Its methods are called
// from one goroutine.
//
// Nothing depends on the order of a map: maps are only looked up.
type Lane struct {
	cfg      Config
	store    *room.Store
	maxRooms int
	stats    Stats

	zero    time.Time     // when lane time began: the first time handed in
	now     time.Duration // lane time; never goes back
	started bool

	parts   []part // number p / Lanes is partition p
	rooms   map[string]*roomState
	wheel   wheel   // rooms by when time has something to do with them
	heldAll int     // bytes of held frames
	behind  []*part // that heard of a term above theirs; may hold some that know it by now

	routers map[proto.NodeName]*router
	all     []*router // the same, in the order in which they came
	refs    uint32    // the last router.ref given out
	dirty   []*Peer   // those with listed set
	reaping []*Peer   // down, and with cursors still to be dropped
}

// part is one partition, owned or not.
type part struct {
	number proto.Partition
	local  uint16 // its place in Lane.parts
	owned  bool
	term   proto.Term // the highest that SetTable told

	start   time.Duration // lane time at which log time began
	settled time.Duration // lane time from which rooms may be forgotten
	index   proto.Index   // of the last entry appended
	log     []entry       // appended and not committed yet

	first, last *roomState // its rooms, in the order of their creation

	told   proto.Term // the highest that a frame named
	behind bool       // in Lane.behind

	held      []heldFrame // of terms above term, in the order they came
	heldBytes int
	holds     []hold // who was told to hold publishes
}

// roomState is a room of an owned partition. While it is idle it should cost
// no more than some 300 bytes, a cursor and the map included.
type roomState struct {
	name    string
	log     room.Log
	part    *part
	cursors *cursor       // in the order in which they came
	touched time.Duration // log time of the last publish, detach or the creation

	prev, next     *roomState // in its partition
	earlier, later *roomState // in its bucket of the wheel
	bucket         int32      // number of that bucket + 1; 0 when it is in none
	relaxed        bool       // the bucket was chosen while there was no live window
}

// router is one run of a router, as long as its publishes are remembered.
type router struct {
	name   proto.NodeName
	ref    uint32 // names it in logs; never given out again
	peers  []*Peer
	pubs   []*publisher // by part.local; nil where it never published
	gone   bool
	goneAt time.Duration
}

// Peer is one link of a router: what RouterUp returns, and what the frames of
// that link are handed in with.
type Peer struct {
	// Tag is the caller's; the lane leaves it alone.
	Tag any

	router      *router
	link, links int
	down        bool
	listed      bool  // in Lane.dirty
	broken      error // a held frame of it broke the protocol: its next frame ends it

	cursors     *cursor // all of them
	first, last *cursor // those with something to send, in the order they are served
	fetches     int     // how many of cursors are fetches
	answers     []answer
	early       map[string]uint32 // member counts that overtook their Attach

	notes []uint16 // parts with control frames due, by part.local
	noted []note   // which, by part.local
}

// Name is the router behind the link.
func (r *Peer) Name() proto.NodeName { return r.router.name }

// Link is the number of the link among those of the router.
func (r *Peer) Link() int { return r.link }

// NewLane makes a lane that owns nothing yet.
func NewLane(cfg Config) *Lane {
	cfg = cfg.withDefaults()
	l := &Lane{
		cfg: cfg,
		store: room.NewStore(room.Config{
			HistoryMessages: cfg.HistoryMessages, HistoryBytes: cfg.HistoryBytes, HistoryAge: cfg.HistoryAge,
			WindowAge: cfg.WindowAge, WindowBytes: cfg.WindowBytes, WindowTotal: cfg.WindowTotal, Total: cfg.Total,
		}),
		maxRooms: (cfg.Rooms + cfg.Lanes - 1) / cfg.Lanes,
		parts:    make([]part, (cfg.Partitions-cfg.Lane+cfg.Lanes-1)/cfg.Lanes),
		rooms:    make(map[string]*roomState),
		routers:  make(map[proto.NodeName]*router),
		wheel:    newWheel(max(cfg.HistoryAge, cfg.WindowAge)),
	}
	for i := range l.parts {
		l.parts[i].local = uint16(i)
		l.parts[i].number = proto.Partition(i*cfg.Lanes + cfg.Lane)
	}
	return l
}

func (c Config) withDefaults() Config {
	c.Lanes = max(c.Lanes, 1)
	if c.Partitions <= 0 {
		c.Partitions = proto.Partitions
	}
	if c.Rooms <= 0 {
		c.Rooms = 1_000_000
	}
	if c.MaxMessage <= 0 || c.MaxMessage > maxMessage {
		c.MaxMessage = maxMessage
	}
	if c.HistoryAge == 0 {
		c.HistoryAge = 5 * time.Minute
	}
	if c.WindowAge == 0 {
		c.WindowAge = 10 * time.Second
	}
	if c.Bits == nil {
		c.Bits = rand.Uint64
	}
	return c
}

// advance lets lane time follow now.
func (l *Lane) advance(now time.Time) {
	if !l.started {
		l.zero, l.started = now, true
	}
	l.now = max(l.now, now.Sub(l.zero))
}

// logTime is R1's: it starts at 0 with the partition's log.
func (l *Lane) logTime(p *part) time.Duration { return l.now - p.start }

// part finds a partition of this lane; nil when p is another lane's.
func (l *Lane) part(p proto.Partition) *part {
	if i := int(p) / l.cfg.Lanes; int(p)%l.cfg.Lanes == l.cfg.Lane && i < len(l.parts) {
		return &l.parts[i]
	}
	return nil
}
