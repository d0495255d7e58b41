package verify

// Report is what a run found. Times in milliseconds have ms in their name, the others are seconds.
type Report struct {
	Held    bool     `json:"held"`    // the promises
	Verdict string   `json:"verdict"` // in a sentence
	Broken  []string `json:"broken"`  // each promise that did not hold, in a few words

	URLs        []string `json:"urls"`
	RoomCount   int      `json:"room_count"`
	MemberCount int      `json:"member_count"` // per room
	Rate        float64  `json:"rate"`         // deliveries per second that were due
	Size        int      `json:"size"`
	Reconnect   bool     `json:"reconnect"`
	MaxPause    float64  `json:"pause_limit_ms"` // that a room's pause must keep to; 0 for none
	For         float64  `json:"for"`            // seconds that messages were to be sent
	Seconds     float64  `json:"seconds"`        // that they were

	Conns      int     `json:"conns"`        // that opened at the start
	DialErrors int     `json:"dial_errors"`  // tries that did not open, later ones too
	NotOpened  int     `json:"not_opened"`   // conns that did not open at the start
	Away       int     `json:"away"`         // conns that closed and were not open at the end
	FirstError string  `json:"first_error"`  // of those tries
	Published  uint64  `json:"published"`    // messages sent
	Delivered  uint64  `json:"delivered"`    // messages that came, at all members together
	Acked      uint64  `json:"acknowledged"` // messages that any member received
	Unsent     uint64  `json:"unsent"`       // messages that were due and had no open conn
	Excused    uint64  `json:"excused"`      // messages that nobody received, which a gap or a reset took
	PerSecond  float64 `json:"deliveries_per_second"`
	P50        float64 `json:"p50_ms"` // from when a message was due to its delivery
	P99        float64 `json:"p99_ms"`
	P999       float64 `json:"p999_ms"`
	Max        float64 `json:"max_ms"`

	Counts
	Closes []Close `json:"closes"`

	// Events are the periods of the run: "before", then one per event, until the next one began.
	Events   []Event   `json:"events"`
	Examples []Example `json:"examples"` // of what broke; a few of each kind

	Timeline []Point `json:"-"`
}

// Counts are what went wrong, or was announced, in the whole run or in a period of it.
type Counts struct {
	Lost      uint64 `json:"lost"`      // messages acknowledged or owed that a member entitled to them did not get
	Doubled   uint64 `json:"doubled"`   // messages that came again, at the same offset or another
	Reordered uint64 `json:"reordered"` // messages that came after a later one
	Invented  uint64 `json:"invented"`  // messages that nobody sent
	Altered   uint64 `json:"altered"`   // messages that are not as they were sent
	Conflicts uint64 `json:"conflicts"` // offsets with two contents
	Disagree  uint64 `json:"disagree"`  // members that heard something else at an offset than others
	Malformed uint64 `json:"malformed"` // frames that are not as the protocol says

	Gaps     uint64 `json:"gaps"`   // lines that said so, over all members
	Resets   uint64 `json:"resets"` // lines that said so, over all members
	Closed   uint64 `json:"closed"` // sockets
	Taken    uint64 `json:"taken"`  // messages that a member received, and another one lacks because of a gap or reset that it was told of
	Unplaced uint64 `json:"unplaced"`

	Reconnects   uint64  `json:"reconnects"`
	ResumedWhole uint64  `json:"resumed_whole"`
	ResumedGap   uint64  `json:"resumed_gap"`
	ResumedReset uint64  `json:"resumed_reset"`
	BackP50      float64 `json:"back_p50_ms"` // from the end of a socket to the first line on its next one
	BackP99      float64 `json:"back_p99_ms"`
	BackMax      float64 `json:"back_max_ms"`

	PauseP50 float64 `json:"pause_p50_ms"` // over the rooms: the longest time from send to delivery in each
	PauseP99 float64 `json:"pause_p99_ms"`
	PauseMax float64 `json:"pause_max_ms"`
	Rooms    int     `json:"rooms"`        // in which anything came that was sent in the period
	TooLong  uint64  `json:"paused_above"` // rooms whose pause was above the limit
}

// Event is a period of the run, named for what began it.
type Event struct {
	Name string  `json:"name"`
	At   float64 `json:"at"` // seconds after the first message was due
	Counts

	Command  bool    `json:"command,omitempty"` // it was run here
	ExitCode int     `json:"exit_code"`         // -1 when it did not end by itself
	Output   string  `json:"output,omitempty"`  // the first part of it
	Took     float64 `json:"took,omitempty"`    // seconds
}

// Close counts sockets that ended alike.
type Close struct {
	Code   int    `json:"code"` // 0 without a close frame
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Example is one thing that broke.
type Example struct {
	Kind      string  `json:"kind"` // "lost", "doubled", …
	Room      string  `json:"room"`
	Epoch     string  `json:"epoch"`
	Offset    uint64  `json:"offset"`
	Publisher string  `json:"publisher"` // member and conn, "3" or "3#2"
	Seq       uint32  `json:"seq"`
	Member    string  `json:"member"` // that saw it, or should have
	At        float64 `json:"at"`     // seconds after the first message was due
	Text      string  `json:"text"`
}
