package partition

import (
	"math/rand/v2"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// The bounds that are not in Config.
const (
	// maxDeliver is where a Deliver, Fetched, Attached, Append or Snapshot frame
	// ends, unless a single message is bigger: so that no room and no partition
	// holds up the others of a link.
	maxDeliver = 256 << 10
	// maxUncommitted is how many bytes of a partition may wait for its followers
	// before publishers are told to hold; half of it lets them go. maxUnstored is
	// where rooms are not created any more either, and twice that is what a
	// follower takes.
	maxUncommitted = 1 << 20
	maxUnstored    = 8 << 20
	// maxRetained is how many bytes of a partition's log are kept for a learner:
	// beyond it, the learner begins again.
	maxRetained = 8 << 20
	// maxDying bounds the rooms of a partition that are being forgotten at once.
	maxDying = 256
	// maxFollowed bounds the rooms that are here, owned and copied, by so many
	// times those that may be owned.
	maxFollowed = 8
	// maxNumber bounds the numbers of publishers.
	maxNumber = 1 << 31
	// maxIndex bounds indexes, offsets, seqs and times that come from other shards.
	maxIndex = 1 << 62
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
	// watchTicks is in how many Ticks every partition is looked at once, also if
	// it is not uneasy.
	watchTicks = 10
	// publisherAge is how long a publisher is remembered after its router left.
	publisherAge = 10 * time.Minute
	// settleAge: no room is forgotten so soon after its partition's term
	// changed, because routers are still attaching.
	settleAge = 30 * time.Second
	// patience is how long a matter waits for the Table before the owner asks
	// for a change, and how long a new term's links have to come up; wishes are
	// repeated as often.
	patience = 200 * time.Millisecond
	// linkAge, stuckAge: a follower is overdue when it was so long without a
	// link, or without progress though it had something to store. After resendAge
	// it is sent that once more.
	linkAge   = 1500 * time.Millisecond
	stuckAge  = 5 * time.Second
	resendAge = time.Second
	// freezeAge is how long a hand-off may hold publishes.
	freezeAge = 2 * time.Second
	// tellAge: what is committed is told to followers without entries after it. They
	// need not know sooner, and a busy partition tells with its next entries.
	tellAge = 400 * time.Millisecond
	// maxProbe is where the first frame to a copy ends, in each term and link and
	// of each lesson: nothing follows until it was answered. Whom the Table has not
	// told the term yet holds that frame, and it may be one of a thousand.
	maxProbe = 32 << 10
	// maxNear is how many bytes a learner may lack for its owner to begin to wait
	// for it; nearAge after its copy became whole it may lack more, else one that is
	// always a round trip behind would never be added.
	maxNear = 256 << 10
	nearAge = time.Second
	// tickScan is how many partitions one Tick looks at for publishers that left.
	tickScan = 64
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
	// proto.TooBig. If zero or above proto.MaxPayload, that.
	MaxMessage int

	// MinCopies is how many copies a row must name, the owner's included, for
	// anything to be committed. If zero, 1.
	MinCopies int
	// SnapshotRate bounds what this lane sends to learners beside what is
	// appended, in bytes per second. If zero, 64 MiB; negative means no limit.
	SnapshotRate int64

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
	BreakDedup   Break = 1 << iota // take any seq: R8 off
	BreakFence                     // take frames of old terms: R2 off
	BreakGap                       // go on behind a gap without saying so
	BreakCommit                    // deliver and acknowledge what is appended: R1 off
	BreakLearner                   // do not wait for a learner that is to be added: R4 off
	BreakDrop                      // do not wait for a follower without a link: R5 off
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

	parts    []part // number p / Lanes is partition p
	rooms    map[string]*roomState
	owning   int     // rooms of owned partitions
	audience int     // members of those rooms, at all routers with a link
	wheel    wheel   // rooms of owned partitions by when time has something to do with them
	walks    []*Walk // that are among the rooms
	heldAll  int     // bytes of held frames
	behind   []*part // that heard of a term above theirs; may hold some that know it by now

	shelves shelves
	out, in proto.Entry // the one that is appended, the one that is read; reused
	name    [proto.MaxRoom]byte
	untold  []*part // their followers are to hear what is committed
	wishing []*part // that may want something of the coordinator
	uneasy  []*part // to be looked at in every Tick; may hold some that are no more
	watched int     // partitions that were looked at because it was their turn
	ticks   uint32
	scratch []proto.Wish

	// Messages per second, see pace.go.
	watching     bool
	sampled      bool          // since somebody watches
	sampledAt    time.Duration // or when the watching began
	watchedUntil time.Duration
	paces        []pace

	scanned int // partitions that were looked at for publishers that left
	tidied  time.Duration

	routers  map[proto.NodeName]*router
	all      []*router // the same, in the order in which they came
	shards   map[proto.NodeName]*shard
	tokens   int64         // bytes that learners may be sent now
	counted  time.Duration // when that was
	dirty    []*Peer       // those with listed set
	teachers []*Peer       // those with teaches set: they have pupils, and wait for tokens
	reaping  []*Peer       // down, and with cursors still to be dropped
}

// part is one partition, owned, followed, learned or nothing of it. What every
// message needs comes first: there are thousands, so each cache line of one is
// fetched from memory.
type part struct {
	number   proto.Partition
	local    uint16 // its place in Lane.parts
	copy     copyKind
	owned    bool        // the row gives it to us, and the copy is whole
	promised proto.Term  // nothing below it is taken (rule R2)
	applied  proto.Index // entries up to here are in the rooms; never more than is committed
	lastAt   uint64      // log time of that entry
	recent   *roomState  // the one that was looked up last; nil for none
	row      Row         // what SetTable told last
	log      log
	pubs     []*publisher // by number
	lead     lead         // while it is owned
	follow   follow       // while it is not

	began       time.Duration
	numbers     uint32     // the last number given to a router
	first, last *roomState // its rooms, in the order of their creation
	rooms       int
	dying       []*roomState // noted as forgotten, in the log's order; not in Lane.rooms
	taught      uint8        // the number of the last lesson that began here

	told   proto.Term // the highest that a frame named
	behind bool       // in Lane.behind

	held      []heldFrame // of terms above the row's, in the order they came
	heldBytes int
	holds     []hold // who was told to hold publishes
}

// lead is what an owner has.
type lead struct {
	replicas []*replica
	start    time.Duration // lane time at which log time began
	lately   uint32        // bytes appended up to Tick number latelyAt, halved every Tick
	latelyAt uint32
	timed    proto.Index   // an entry that is timed until it is committed; 0 for none
	timedAt  time.Duration // when it was appended

	full    bool // too much is appended and not committed
	frozen  bool // nothing is sequenced any more: another will be the owner
	thawed  bool // that took too long
	uneasy  bool // in Lane.uneasy
	untold  bool // in Lane.untold
	wishing bool // in Lane.wishing
	wished  uint8

	untoldAt time.Duration
	unsure   []*cursor     // fetches of what the room does not have, see sure.go
	settled  time.Duration // lane time from which rooms may be forgotten
	frozenAt time.Duration
	// thawedFor is the move that took too long.
	thawedFor proto.NodeName

	fenced   proto.Term // a follower knows this one, and the Table does not tell it
	fencedAt time.Duration
	wishAt   time.Duration // when wishes are repeated
}

// roomState is a room of a partition. While it is idle it should cost no more
// than some 300 bytes, a cursor and the map included.
type roomState struct {
	name    string
	log     room.Log
	part    *part
	cursors *cursor       // in the order in which they came
	touched time.Duration // log time of the last publish, detach or the creation
	head    proto.Offset  // of the last message noted
	born    proto.Index   // entries about it up to here are in it already

	prev, next     *roomState // in its partition
	earlier, later *roomState // in its bucket of the wheel
	bucket         int16      // number of that bucket + 1; 0 when it is in none
	relaxed        bool       // the bucket was chosen while there was no live window
	pending        bool       // noted, and its creation is not applied
	dying          bool       // noted as forgotten, and that is not applied
	partial        bool       // learned, and not all of it has come
	paced          bool       // in Lane.paces
	gone           bool       // erased
}

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
		shards:   make(map[proto.NodeName]*shard),
		shelves:  newShelves(),
		wheel:    newWheel(max(cfg.HistoryAge, cfg.WindowAge)),
	}
	for i := range l.parts {
		l.parts[i].local = uint16(i)
		l.parts[i].number = proto.Partition(i*cfg.Lanes + cfg.Lane)
		l.parts[i].log.first = 1
	}
	l.tokens = l.maxTokens()
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
	if c.MaxMessage <= 0 || c.MaxMessage > proto.MaxPayload {
		c.MaxMessage = proto.MaxPayload
	}
	c.MinCopies = max(c.MinCopies, 1)
	if c.SnapshotRate == 0 {
		c.SnapshotRate = 64 << 20
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

// logTime is R1's, at the owner: it starts at 0 with the partition's log.
func (l *Lane) logTime(p *part) time.Duration { return l.now - p.lead.start }

// part finds a partition of this lane; nil when p is another lane's.
func (l *Lane) part(p proto.Partition) *part {
	if i := int(p) / l.cfg.Lanes; int(p)%l.cfg.Lanes == l.cfg.Lane && i < len(l.parts) {
		return &l.parts[i]
	}
	return nil
}
