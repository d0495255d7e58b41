package register

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

// On proof of the leader's death nobody has to wait for its heartbeats. The voters that are left take
// turns, by name, to do what a leader that hands over makes its successor do: ask for votes at once,
// of voters that grant them although they knew a leader. The first usually has them all within a
// round trip. Should that fail, because a vote was split or a log was behind, elections are quicker
// for a while. A proof that was wrong costs a change of leaders, nothing else.
const (
	stagger = 40 * time.Millisecond // between two turns

	// quick is how long voters then wait for a leader and for votes, for quickFor at most. It must not
	// be below lease.
	quick    = 200 * time.Millisecond
	quickFor = 2 * time.Second
)

// quickening is the time in which elections are quick.
type quickening struct {
	mu    sync.Mutex
	dead  proto.NodeName // the leader that is known to be dead
	timer *time.Timer    // nil while elections are not quick
}

// due ends the quickening; nil while there is none. It is asked for anew after each wake-up.
func (q *quickening) due() <-chan time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer == nil {
		return nil
	}
	return q.timer.C
}

// wants reports whether this leader ends the quickening.
func (q *quickening) wants(leader proto.NodeName) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.timer != nil && leader != q.dead
}

// hurry makes elections quick until another leader is known, or for quickFor.
func (l *life) hurry() error {
	q := &l.quicken
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil || l.raft.State() == raft.Leader {
		return nil
	}
	q.dead = l.leaderNow()
	q.timer = time.NewTimer(quickFor)
	select {
	case l.wake <- raft.Observation{}: // watch has to see the timer
	default:
	}
	dead, term := q.dead, l.raft.CurrentTerm()
	l.watching.Go(func() { l.campaign(dead, term) })
	return nil
}

// campaign asks for votes when it is this voter's turn, if nobody else did.
func (l *life) campaign(dead proto.NodeName, term uint64) {
	turn := l.turn(dead)
	select {
	case <-time.After(time.Duration(turn) * stagger):
	case <-l.gone:
		return
	}
	if now := l.leaderNow(); turn >= 0 && !l.over.Load() && l.raft.State() == raft.Follower && l.raft.CurrentTerm() == term && (now == dead || now == "") {
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(l.voter), Addr: []byte(l.voter)}
		if err := l.trans.TimeoutNow(raft.ServerID(l.voter), raft.ServerAddress(l.voter), &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{}); err != nil {
			l.log.Debug("register cannot call an election", zap.Error(err))
		}
	}
	l.quicken.mu.Lock()
	defer l.quicken.mu.Unlock()
	if l.quicken.timer != nil {
		l.pace(quick)
	}
}

// turn is this voter's place among those that are left; below 0 if it is none.
func (l *life) turn(dead proto.NodeName) int {
	var left []proto.NodeName
	for _, s := range l.servers() {
		if s.Voter && s.Name != dead {
			left = append(left, s.Name)
		}
	}
	return slices.Index(left, l.voter)
}

func (l *life) calm() {
	q := &l.quicken
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
		l.pace(heartbeat)
	}
}

// pace changes how long raft waits for leaders and votes.
func (l *life) pace(timeout time.Duration) {
	c := l.raft.ReloadableConfig()
	c.HeartbeatTimeout, c.ElectionTimeout = timeout, timeout
	if err := l.raft.ReloadConfig(c); err != nil {
		panic(fmt.Sprintf("register: raft refuses a timeout of %v: %v", timeout, err)) // only our constants come here
	}
}
