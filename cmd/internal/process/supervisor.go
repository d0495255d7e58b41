package process

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// lookEvery is how often a supervised node is looked at, unless the watchdog wants it sooner.
	lookEvery = time.Second
	// answerTime bounds one look. A node that is busy answers within milliseconds; one that took
	// longer is asked again at the next look.
	answerTime = 5 * time.Second
	// moreTime is how much longer a draining node may take, said with each look that it answers: so
	// --drain-time bounds a drain, and a unit's TimeoutStopSec need not know it.
	moreTime = 15 * time.Second
)

// Supervised is a node as its supervisor knows it.
type Supervised interface {
	// Status is a line that says what /readyz says, and whether the node is about to leave.
	Status() (line string, leaving bool)
	// Answer returns nil once everything that serves has answered.
	Answer(ctx context.Context) error
}

// Supervisor is the service manager that started this process and wants to hear how it goes: systemd,
// of a unit with Type=notify. The words are those of sd_notify(3). Without one, every method does as
// little as it can. Make it with NewSupervisor.
type Supervisor struct {
	// Set by NewSupervisor, then only read.
	send     func(state string) error // nil without a supervisor
	watchdog time.Duration            // it ends a process that has not been alive for so long; 0: it does not
	every    time.Duration            // between two looks
	log      *zap.Logger

	up atomic.Bool // READY=1 has been said

	// Owned by Watch.
	last    string    // status that was told
	leaving bool      // STOPPING=1 has been said
	alive   time.Time // when WATCHDOG=1 was said
	deaf    bool      // the last word did not reach the supervisor
}

// NewSupervisor finds the supervisor in the environment. An address that makes no sense is logged, and
// the process runs without one: whoever gave it will see that nothing is said.
func NewSupervisor(getenv func(string) string, log *zap.Logger) *Supervisor {
	s := &Supervisor{every: lookEvery, log: log}
	address := getenv("NOTIFY_SOCKET")
	if address == "" {
		return s
	}
	send, err := dialSupervisor(address)
	if err != nil {
		log.Warn("service manager not told", zap.Error(err))
		return s
	}
	s.send, s.watchdog = send, watchdogTime(getenv)
	if s.watchdog > 0 {
		s.every = min(s.every, s.watchdog/4)
	}
	return s
}

// Watch tells the supervisor how the node is, until ctx ends: READY=1 when it first answered, STATUS
// when what /readyz says has changed, STOPPING=1 when it leaves, which is at once when drain is closed,
// and WATCHDOG=1 as often as that is asked for, but only right after the node has answered: so a node
// whose loops are stuck is ended, though this goroutine runs on.
func (s *Supervisor) Watch(ctx context.Context, n Supervised, drain <-chan struct{}) {
	if s.send == nil {
		return
	}
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	defer s.leave()
	for {
		s.look(ctx, n)
		select {
		case <-drain:
			s.leave()
			drain = nil // said; it stays closed
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look asks the node once, and tells what is new.
func (s *Supervisor) look(ctx context.Context, n Supervised) {
	short, cancel := context.WithTimeout(ctx, answerTime)
	err := n.Answer(short)
	cancel()
	if ctx.Err() != nil {
		return // it has ended, and answers nobody any more
	}
	line, leaving := n.Status()
	if err != nil {
		line = "does not answer"
	}
	if err == nil && !s.up.Load() {
		s.say("READY=1")
		s.up.Store(true)
	}
	if line != s.last {
		s.say("STATUS=" + line)
		s.last = line
	}
	if leaving {
		s.leave()
	}
	if err == nil && s.leaving {
		s.say("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(moreTime.Microseconds(), 10))
	}
	if now := time.Now(); err == nil && s.watchdog > 0 && now.Sub(s.alive) >= s.watchdog/3 {
		s.say("WATCHDOG=1")
		s.alive = now
	}
}

func (s *Supervisor) leave() {
	if !s.leaving {
		s.leaving = true
		s.say("STOPPING=1")
	}
}

// Reload carries out read, and tells when it begins and ends.
func (s *Supervisor) Reload(read func()) {
	if s.send == nil || !s.up.Load() {
		read()
		return
	}
	// Not through say: Watch owns what that keeps. What does not arrive here does not arrive there either.
	_ = s.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10))
	read()
	_ = s.send("READY=1")
}

// say sends one word. That it did not arrive is logged once, until one does.
func (s *Supervisor) say(state string) {
	err := s.send(state)
	if err != nil && !s.deaf {
		s.log.Warn("service manager not told", zap.Error(err))
	}
	s.deaf = err != nil
}

// watchdogTime reads how long the supervisor waits for a sign of life. It is meant for the process that
// it started: WATCHDOG_PID keeps a child of that from answering for its parent.
func watchdogTime(getenv func(string) string) time.Duration {
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(time.Hour/time.Microsecond)*24*365 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}
