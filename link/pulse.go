package link

import "time"

const (
	// Heartbeat is how long a link may be silent before it pings.
	Heartbeat = 500 * time.Millisecond

	// Silence is how long nothing may be heard before the link is down: three
	// missed heartbeats.
	Silence = 3 * Heartbeat

	// late is a gap between two ticks that shows that our own loop was held up.
	late = Heartbeat / 2
)

// pulse judges whether the other side lives. It is a pure core: time comes in
// by tick, and what happened in between is only marked, so that frames cost no
// look at a clock.
type pulse struct {
	ticked time.Time // last tick; zero before the first
	heard  time.Time // the tick that saw bytes come in
	sent   time.Time // the tick that saw bytes go out
	in     bool      // bytes came in since the last tick
	out    bool      // frames went out since the last tick
}

// tick says whether to ping now, and whether the other side counts as down.
func (p *pulse) tick(now time.Time) (ping, silent bool) {
	gap := now.Sub(p.ticked)
	switch {
	case p.ticked.IsZero():
		p.heard, p.sent = now, now
	case gap > late:
		// Our loop was held up (a paused process, a loaded machine): what the
		// other side sent meanwhile may not be read yet. That time counts as
		// nobody's silence.
		p.heard = p.heard.Add(gap)
	}
	p.ticked = now
	if p.in {
		p.heard = now
	}
	if p.out {
		p.sent = now
	}
	p.in, p.out = false, false
	return now.Sub(p.sent) >= Heartbeat, now.Sub(p.heard) >= Silence
}
