package register

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// Config is what a Register needs to know.
type Config struct {
	// Self is this run of the node.
	Self proto.NodeName

	// Dir is the data directory. It is made if it is not there, and belongs to one process at a time.
	// If empty, the log lives in this process's memory, and this run is a voter of its own.
	Dir string

	// Cluster is the cluster's name: a data directory of another one is refused.
	Cluster string

	// Partitions is the number of rows of the Table: a data directory with another is refused. If
	// zero, proto.Partitions.
	Partitions int

	// Streams dials other voters. It must not be nil.
	Streams cluster.Streams

	// Logger hears of leaders, voters and trouble with the data directory. If nil, nobody does.
	Logger *zap.Logger
}

const (
	maxAccepts  = 64              // streams that wait for raft to start; more are closed
	reviveEvery = 2 * time.Second // between two tries to go on after a failed write
	sayEvery    = time.Minute     // between two errors in the log about that
	maxLeft     = 64              // foundings of which this run remembers that it forgot them
)

// Register keeps the Table. It implements cluster.Register.
type Register struct {
	// Set by New, then only read.
	cfg     Config
	log     *zap.Logger
	changed chan struct{}
	orders  *orders       // all that are under way, here and in the life
	accepts chan struct{} // a slot per stream that Accept took
	broken  chan error    // receives why raft cannot go on
	counts  counts

	// changing is held, by a value in it, by whoever starts or ends a life. A channel, because the
	// holder waits for raft.
	changing chan struct{}

	// Guarded by changing.
	home *home
	left map[proto.Founding]bool // the foundings whose log this run has forgotten

	mu sync.Mutex
	at present
}

// present is what there is now.
type present struct {
	ctx      context.Context // Run's; nil before Run and after it
	voter    proto.NodeName
	founding proto.Founding
	life     *life // nil while there is no founding, and while raft cannot run
	seen     *seen
}

// New opens the data directory, if there is one, and reads all of it: what is damaged, of another
// cluster or node, or in use by another process is an error. It starts nothing; Run must follow.
func New(cfg Config) (*Register, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Partitions <= 0 {
		cfg.Partitions = proto.Partitions
	}
	if _, err := proto.ParseNodeName(string(cfg.Self)); err != nil {
		return nil, fmt.Errorf("open register: %w", err)
	}
	home, content, err := openHome(cfg.Dir, cfg.Cluster, cfg.Self, cfg.Logger)
	if err != nil {
		return nil, err
	}
	if t := content.table; t != nil && t.Partitions() != cfg.Partitions {
		home.leave()
		return nil, fmt.Errorf("open data directory %s: its table has %d partitions, but this node is set to %d", cfg.Dir, t.Partitions(), cfg.Partitions)
	}
	r := &Register{
		cfg: cfg, log: cfg.Logger, home: home,
		changed: make(chan struct{}, 1), orders: newOrders(), accepts: make(chan struct{}, maxAccepts),
		broken: make(chan error, 1), changing: make(chan struct{}, 1), left: make(map[proto.Founding]bool),
	}
	r.at = present{voter: home.voter, founding: home.founding, seen: newSeen(r.signal)}
	r.at.seen.note(&content)
	return r, nil
}

// Run implements cluster.Register. It may be called once.
func (r *Register) Run(ctx context.Context) error {
	r.changing <- struct{}{}
	r.update(func(p *present) { p.ctx = ctx })
	if r.home.founding != (proto.Founding{}) {
		if _, err := r.start(); err != nil {
			r.fail(err)
		}
	}
	<-r.changing
	var again <-chan time.Time
	var said time.Time // when trouble was an error in the log last
	for {
		select {
		case err := <-r.broken:
			if !errors.Is(err, errReplaced) {
				r.counts.failures.Add(1)
			}
			switch {
			case errors.Is(err, errReplaced):
				r.log.Info("register starts again from a snapshot")
			case time.Since(said) > sayEvery:
				said = time.Now()
				r.log.Error("register cannot use its data directory: it takes no part until it can", zap.String("dir", r.cfg.Dir), zap.Error(err))
			}
			again = r.revive(errors.Is(err, errReplaced))
		case <-again:
			again = r.revive(true)
		case <-ctx.Done():
			r.end()
			return nil
		}
	}
}

// end stops everything.
func (r *Register) end() {
	idle := r.orders.end()
	r.changing <- struct{}{} // kept: nothing starts any more
	r.halt()
	<-idle
	for range maxAccepts {
		r.accepts <- struct{}{}
	}
	r.update(func(p *present) { p.ctx = nil })
	r.home.leave()
}

// Changed implements cluster.Register.
func (r *Register) Changed() <-chan struct{} { return r.changed }

func (r *Register) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *Register) now() present {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *Register) update(f func(*present)) {
	r.mu.Lock()
	f(&r.at)
	r.mu.Unlock()
	r.signal()
}

// Status implements cluster.Register.
func (r *Register) Status() cluster.Status {
	at := r.now()
	s := cluster.Status{Voter: at.voter, Founding: at.founding, Former: r.home.former}
	if at.life != nil {
		s.Term, s.Leader, s.Servers = at.life.leads(), at.life.leaderNow(), at.life.servers()
	}
	facts := at.seen.facts.Load() // after Term: a leader's Table holds all that was committed before it led
	s.Table, s.Applied = facts.table, facts.index
	return s
}

// Accept takes a stream that a voter of the founding dialled; whoever it is was judged by its hello.
// A register that has no log yet begins to keep that founding's. Accept does not wait; a stream that
// is not wanted is closed.
func (r *Register) Accept(c net.Conn, from proto.NodeName, founding proto.Founding) {
	if r.now().ctx == nil {
		c.Close()
		return
	}
	select {
	case r.accepts <- struct{}{}:
	default:
		c.Close()
		return
	}
	go func() {
		defer func() { <-r.accepts }()
		if err := r.accept(c, founding); err != nil {
			c.Close()
			r.log.Debug("register stream refused", zap.String("from", string(from)), zap.Error(err))
		}
	}()
}

func (r *Register) accept(c net.Conn, founding proto.Founding) error {
	if at := r.now(); at.life != nil && at.founding == founding {
		at.life.streams.deliver(c)
		return nil
	}
	release, err := r.change()
	if err != nil {
		return err
	}
	defer release()
	at := r.now()
	switch {
	case founding == proto.Founding{}:
		return errors.New("it names no founding")
	case at.founding == (proto.Founding{}) && r.left[founding]:
		return errors.New("this run has forgotten that founding's log, and how it voted there")
	case at.founding == proto.Founding{}:
		if err := r.home.begin(founding, false); err != nil {
			return err
		}
		if at.life, err = r.start(); err != nil {
			r.fail(err)
			return err
		}
	case at.founding != founding:
		return fmt.Errorf("this node keeps the log of generation %d of %s", at.founding.Generation, at.founding.Instance)
	case at.life == nil:
		return errors.New("the register cannot run now")
	}
	at.life.streams.deliver(c)
	return nil
}

// change waits for the right to start and end lives. It fails when the Register ends.
func (r *Register) change() (release func(), err error) {
	ctx := r.now().ctx
	if ctx == nil {
		return nil, errIdle
	}
	select {
	case r.changing <- struct{}{}:
		if ctx.Err() == nil {
			return func() { <-r.changing }, nil
		}
		<-r.changing
	case <-ctx.Done():
	}
	return nil, errIdle
}

// start begins a life with what home holds. changing is held, and there is none.
func (r *Register) start() (*life, error) {
	h := r.home
	l, err := startLife(h, newStreams(h.voter, h.founding, r.cfg.Streams), r.now().seen, &r.counts, r.log, r.fail)
	r.update(func(p *present) { p.voter, p.founding, p.life = h.voter, h.founding, l })
	return l, err
}

// halt ends the life, if there is one. changing is held.
func (r *Register) halt() {
	if l := r.now().life; l != nil {
		l.stop()
		r.update(func(p *present) { p.life = nil })
	}
}

// wipe forgets everything: this node belongs to no founding then. changing is held.
//
// Whoever still takes this node for the voter that it was must not find it under that founding
// again, empty; so this run remembers which foundings it left. (The next run has another name.)
func (r *Register) wipe() error {
	r.halt()
	if f := r.home.founding; f != (proto.Founding{}) {
		if len(r.left) == maxLeft {
			err := fmt.Errorf("%w: this run has left %d foundings; it must be restarted", cluster.ErrRefused, maxLeft)
			r.fail(err)
			return err
		}
		r.left[f] = true
	}
	err := r.home.reset()
	if r.home.founding != (proto.Founding{}) {
		r.fail(err) // nothing was forgotten
		return err
	}
	r.update(func(p *present) {
		p.voter, p.founding, p.seen = r.home.voter, proto.Founding{}, newSeen(r.signal)
	})
	return err
}

// fail makes Run revive raft. Raft calls it from a goroutine that ends then.
func (r *Register) fail(err error) {
	select {
	case r.broken <- err:
	default:
	}
	r.signal()
}

// revive ends raft, which cannot go on, and, if it may do so at once, starts it again from what is
// stored. It returns when to try (again); nil if there is no need to.
func (r *Register) revive(atOnce bool) (again <-chan time.Time) {
	release, err := r.change()
	if err != nil {
		return nil
	}
	defer release()
	at := r.now()
	if at.founding == (proto.Founding{}) || at.life != nil && !at.life.over.Load() {
		return nil
	}
	r.halt()
	if !atOnce {
		return time.After(reviveEvery)
	}
	err = r.home.reopen()
	if err == nil {
		_, err = r.start()
	}
	if err != nil {
		r.fail(err)
	}
	return nil
}
