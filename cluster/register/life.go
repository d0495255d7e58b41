package register

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	// heartbeat is how long a voter waits for its leader before it asks for votes, and then for these;
	// raft takes up to twice as long, at random. Leaders send ten times as often.
	heartbeat = 500 * time.Millisecond

	lease         = 200 * time.Millisecond // without a majority for so long, a leader steps down
	commitTimeout = 200 * time.Millisecond // followers learn of a commit within twice this, if nothing follows it; who only reads it hears of it over links at once
	rpcTimeout    = time.Second
	maxPool       = 2 // idle streams per voter

	// pruneApart is between two voters that close their idle streams.
	pruneApart = 2 * time.Second

	// inFlight switches raft's pipelines off. Their sender and their reader can wait for each other
	// for ever once a voter refuses an append: nothing more is sent to it while this leader leads,
	// and raft never ends (v1.8.0: netPipeline.AppendEntries against pipelineDecode).
	inFlight = 1

	// An entry is about 100 KiB at most. So a log is bounded by snapshotAfter entries and what comes
	// in snapshotEvery, and a voter that missed fewer than trailing entries needs no snapshot.
	// trailing is more than the maxOrders entries that a leader may have and nobody else has.
	snapshotAfter = 256
	snapshotEvery = 5 * time.Second
	trailing      = 48
	maxEntries    = 64

	// drainFor bounds how long a life that ends waits for its orders.
	drainFor = 2 * time.Second
)

// errStopped is what an order that was under way fails with when raft ends: it may have been done.
var errStopped = errors.New("the register stopped before it was known")

// life is one raft instance, from its start to its end. There is at most one at a time.
type life struct {
	// Set by startLife, then only read.
	voter    proto.NodeName
	log      *zap.Logger
	raft     *raft.Raft
	trans    *raft.NetworkTransport
	streams  *streams
	counts   *counts
	changed  func()
	gone     chan struct{} // closed when raft has ended
	led      chan struct{} // receives a value when we lead
	wake     chan raft.Observation
	watching sync.WaitGroup

	pruning atomic.Bool // idle streams are to be closed

	orders *orders       // under way
	term   atomic.Uint64 // the last term in which we led and whose barrier has passed
	over   atomic.Bool   // raft is ending, or cannot go on

	// Owned by watch.
	leader  proto.NodeName
	voters  []proto.NodeName
	barrier uint64 // the last term in which we led

	quicken quickening
}

// startLife starts raft on what h holds. failed is called, from a goroutine of raft that ends then,
// when raft cannot go on.
func startLife(h *home, s *streams, seen *seen, counts *counts, log *zap.Logger, failed func(error)) (l *life, err error) {
	l = &life{
		voter: h.voter, log: log, streams: s, counts: counts, changed: seen.changed,
		gone: make(chan struct{}), led: make(chan struct{}, 1),
		wake: make(chan raft.Observation, 1), orders: newOrders(),
	}
	fail := func(err error) {
		l.over.Store(true)
		failed(err)
	}
	l.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: maxPool, MaxRPCsInFlight: inFlight, Timeout: rpcTimeout, Logger: newRaftLog(log),
	})
	err = guarded(func() error {
		l.raft, err = raft.NewRaft(
			raftConfig(h.voter, newRaftLog(log)),
			&state{log: log, seen: seen, counts: counts, left: l.pruneLater},
			&guardedLogs{LogStore: h.store.logs, snapshots: h.store.snapshots, failed: fail},
			&guardedStable{StableStore: h.store.stable, failed: fail},
			h.store.snapshots,
			l.trans)
		return err
	})
	if err != nil {
		s.cut()
		l.trans.Close()
		s.wait()
		return nil, fmt.Errorf("start raft: %w", err)
	}
	l.raft.RegisterObserver(raft.NewObserver(l.wake, false, matters))
	l.watching.Go(l.watch)
	return l, nil
}

func raftConfig(voter proto.NodeName, log hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(voter)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = heartbeat, heartbeat, lease
	c.CommitTimeout, c.MaxAppendEntries = commitTimeout, maxEntries
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = snapshotEvery, snapshotAfter, trailing
	c.ShutdownOnRemove = false // who was taken out may be taken in again, and keeps its vote's memory for that
	c.NoLegacyTelemetry = true
	c.Logger = log
	return c
}

// stop ends raft and all that it started. What it had under way is answered.
func (l *life) stop() {
	l.over.Store(true)
	l.streams.cut()
	// Cut off, a leader steps down and answers whatever it cannot commit any more. Raft answers what
	// it has committed, but not what it leaves behind when it is shut down.
	select {
	case <-l.orders.end():
	case <-time.After(drainFor):
	}
	l.raft.Shutdown().Error()
	l.streams.wait()
	close(l.gone)
	<-l.orders.end()
	l.watching.Wait()
}

// await waits for raft's answer. Raft may end without giving one.
func (l *life) await(f raft.Future) error {
	answer := make(chan error, 1)
	go func() { answer <- f.Error() }()
	select {
	case err := <-answer:
		return err
	case <-l.gone:
	}
	select {
	case err := <-answer:
		return err
	default:
		return errStopped
	}
}

// pruneLater closes the idle streams, since a server is gone: raft keeps some to each, with 256 KiB, and never
// looks again at those of one that is no server any more. It ends streams of others too, which are opened
// anew at once; but all voters together would cost the leader its lease. So they take turns, by their places
// in the configuration.
func (l *life) pruneLater(servers []raft.ServerID) {
	if l.pruning.Swap(true) {
		return
	}
	turn := slices.Index(servers, raft.ServerID(l.voter)) + 2
	l.watching.Go(func() {
		select {
		case <-time.After(time.Duration(turn) * pruneApart):
			l.pruning.Store(false)
			l.trans.CloseStreams()
		case <-l.gone:
		}
	})
}

// watch looks at raft whenever something changes there.
func (l *life) watch() {
	l.look()
	for {
		select {
		case <-l.wake:
		case <-l.raft.LeaderCh():
		case <-l.quicken.due():
			l.calm()
		case <-l.gone:
			return
		}
		l.look()
	}
}

// matters says which observations may come with another Status.
func matters(o *raft.Observation) bool {
	switch o.Data.(type) {
	case raft.RaftState, raft.LeaderObservation, raft.PeerObservation:
		return true
	}
	return false
}

func (l *life) look() {
	leader, servers := l.leaderNow(), l.servers()
	if leader != l.leader {
		if leader != "" {
			l.counts.leaders.Add(1)
			l.log.Info("register leader changed", zap.String("leader", string(leader)), zap.Uint64("raft_term", l.raft.CurrentTerm()))
			if l.quicken.wants(leader) {
				l.calm()
			}
		}
		l.leader = leader
	}
	var voters []proto.NodeName
	for _, s := range servers {
		if s.Voter {
			voters = append(voters, s.Name)
		}
	}
	if !slices.Equal(voters, l.voters) {
		l.voters = voters
		l.log.Info("register voters changed", zap.Strings("voters", asStrings(voters)))
	}
	if term := l.raft.CurrentTerm(); l.raft.State() == raft.Leader && term != l.barrier {
		l.barrier = term
		l.watching.Go(func() { l.passBarrier(term) })
	}
	l.changed()
}

// passBarrier waits until all that was committed before our term is applied here (rule R10).
func (l *life) passBarrier(term uint64) {
	if l.orders.add() != nil {
		return
	}
	defer l.orders.done()
	for l.raft.State() == raft.Leader && l.raft.CurrentTerm() == term && !l.over.Load() {
		err := l.await(l.raft.Barrier(rpcTimeout))
		if err == nil {
			l.term.Store(term)
			select {
			case l.led <- struct{}{}:
			default:
			}
			l.changed()
			return
		}
		select { // the lead was being handed over, perhaps in vain
		case <-time.After(lease / 4):
		case <-l.gone:
		}
	}
}

// leads returns the term in which we lead and know all that was committed before it, or 0.
func (l *life) leads() uint64 {
	term := l.term.Load()
	if term == 0 || l.over.Load() || l.raft.State() != raft.Leader || l.raft.CurrentTerm() != term {
		return 0
	}
	return term
}

func (l *life) leaderNow() proto.NodeName {
	if l.over.Load() {
		return ""
	}
	_, id := l.raft.LeaderWithID()
	return proto.NodeName(id)
}

func (l *life) servers() []plan.Server {
	f := l.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var servers []plan.Server
	for _, s := range f.Configuration().Servers {
		servers = append(servers, plan.Server{Name: proto.NodeName(s.ID), Voter: s.Suffrage == raft.Voter})
	}
	slices.SortFunc(servers, func(a, b plan.Server) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return servers
}

func asStrings(names []proto.NodeName) []string {
	s := make([]string, len(names))
	for i, n := range names {
		s[i] = string(n)
	}
	return s
}
