package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// report puts everything together, when all has ended.
func (r *run) report() *Report {
	out := &Report{
		URLs: r.cfg.URLs, RoomCount: r.cfg.Rooms, MemberCount: r.cfg.Members, Rate: r.cfg.Rate, Size: r.cfg.Size,
		For: r.cfg.For.Seconds(), Seconds: time.Duration(r.stop - r.start).Seconds(), Reconnect: r.cfg.Reconnect, MaxPause: ms(r.cfg.MaxPause),
		Conns: int(r.opened.Load()), NotOpened: r.unopened, DialErrors: r.dialErrors,
		Published: r.published.Load(), Delivered: r.delivered.Load(), Unsent: r.unsent.Load(),
		Timeline: r.timeline.points, Closes: []Close{}, Examples: []Example{},
	}
	for _, rm := range r.rooms {
		out.Acked += rm.judge.acked
		out.Excused += rm.judge.excused
		for i := range rm.judge.followers {
			if f := &rm.judge.followers[i]; len(f.streams) > 0 && (!f.open || f.opening) {
				out.Away++
			}
		}
	}
	if r.firstError != nil {
		out.FirstError = printable(r.firstError.Error())
	}
	if out.Seconds > 0 {
		out.PerSecond = float64(out.Delivered) / out.Seconds
	}
	q := loadgen.Quantiles(r.latency[:], 0.5, 0.99, 0.999)
	out.P50, out.P99, out.P999, out.Max = ms(q[0]), ms(q[1]), ms(q[2]), ms(loadgen.Maximum(r.latency[:]))
	r.addEvents(out)
	r.addEndings(out)
	r.addExamples(out)
	out.Broken = out.broken(r.cfg.Allow)
	out.Held = len(out.Broken) == 0
	out.Verdict = out.verdict()
	return out
}

// addEvents adds the periods, and their sum.
func (r *run) addEvents(out *Report) {
	begins := *r.tally.begins.Load()
	all := period{}
	for n, p := range r.tally.periods {
		e := Event{Name: p.name, Counts: countsOf(p), At: time.Duration(max(begins[n]-r.start, 0)).Seconds()}
		e.pauses(r.rooms, r.cfg.MaxPause, func(p []int64) int64 {
			if n < len(p) {
				return p[n]
			}
			return 0
		})
		if c := p.command; c != nil {
			e.Command, e.ExitCode, e.Output, e.Took = true, c.code, c.output, c.took.Seconds()
		}
		out.Events = append(out.Events, e)
		for k := range p.counts {
			all.counts[k] += p.counts[k]
		}
		for k := range p.resumed {
			all.resumed[k] += p.resumed[k]
		}
		all.back = append(all.back, p.back...)
	}
	out.Counts = countsOf(&all)
	out.pauses(r.rooms, r.cfg.MaxPause, func(p []int64) int64 {
		if len(p) == 0 {
			return 0
		}
		return slices.Max(p)
	})
}

func countsOf(p *period) Counts {
	c := Counts{
		Lost: p.counts[lost], Doubled: p.counts[doubled], Reordered: p.counts[reordered], Invented: p.counts[invented],
		Altered: p.counts[altered], Conflicts: p.counts[conflict], Disagree: p.counts[disagree], Malformed: p.counts[malformed],
		Gaps: p.counts[gap], Resets: p.counts[reset], Closed: p.counts[closed],
		Unplaced: p.counts[unplaced], Taken: p.counts[taken],
		ResumedWhole: p.resumed[whole], ResumedGap: p.resumed[missed], ResumedReset: p.resumed[anew],
	}
	c.Reconnects = c.ResumedWhole + c.ResumedGap + c.ResumedReset
	c.BackP50, c.BackP99, c.BackMax = spread(p.back)
	return c
}

// pauses adds what the rooms' pauses are, of which pick takes each room's, and how many are above a limit.
func (c *Counts) pauses(rooms []*room, limit time.Duration, pick func([]int64) int64) {
	var list []int64
	for _, rm := range rooms {
		d := pick(rm.pauses)
		if d > 0 {
			list = append(list, d)
		}
		if limit > 0 && d > int64(limit) {
			c.TooLong++
		}
	}
	c.Rooms = len(list)
	c.PauseP50, c.PauseP99, c.PauseMax = spread(list)
}

// spread returns the middle, the 99th percentile and the longest of times, in milliseconds.
func spread(list []int64) (p50, p99, longest float64) {
	n := len(list)
	if n == 0 {
		return 0, 0, 0
	}
	slices.Sort(list)
	at := func(i int) float64 { return ms(time.Duration(list[i])) }
	return at(n / 2), at(n * 99 / 100), at(n - 1)
}

func (r *run) addEndings(out *Report) {
	for e, n := range r.tally.closes {
		out.Closes = append(out.Closes, Close{e.code, e.reason, n})
	}
	slices.SortFunc(out.Closes, func(a, b Close) int {
		if a.Count != b.Count {
			return int(int64(b.Count) - int64(a.Count))
		}
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

// addExamples adds the examples of what broke, of what was not placed, and of what was taken.
func (r *run) addExamples(out *Report) {
	for k, list := range r.tally.examples {
		if k := kind(k); !k.breaks() && k != unplaced && k != taken {
			continue
		}
		for _, f := range list {
			out.Examples = append(out.Examples, r.example(f))
		}
	}
}

func (r *run) example(f fault) Example {
	e := Example{Kind: f.kind.String(), Room: r.rooms[f.room].name, Epoch: f.epoch.String(), Offset: f.offset, Seq: f.seq,
		At: time.Duration(f.at - r.start).Seconds()}
	if f.seq != 0 {
		e.Publisher = f.from.String()
	}
	if f.member >= 0 {
		e.Member = fmt.Sprint(f.member)
	}
	e.Text = e.sentence(f.count)
	return e
}

// String is "3" for a member's first socket, "3#2" for its second.
func (s sender) String() string {
	if s.conn == 0 {
		return fmt.Sprint(s.member)
	}
	return fmt.Sprintf("%d#%d", s.member, s.conn+1)
}

// sentence says what broke, for a person.
func (e *Example) sentence(count uint64) string {
	what := "a message"
	if e.Publisher != "" {
		what = fmt.Sprintf("message %d of publisher %s", e.Seq, e.Publisher)
	}
	if count > 1 {
		what = fmt.Sprintf("%d messages", count)
	}
	text := fmt.Sprintf("%s: %s in %s", e.Kind, what, e.Room)
	if e.Epoch != "" {
		text += fmt.Sprintf(" at %s.%d", e.Epoch, e.Offset)
	}
	if e.Member != "" {
		text += ", member " + e.Member
	}
	return text + fmt.Sprintf(", %.3f s", e.At)
}

// broken says which promises did not hold.
func (r *Report) broken(allow Allow) []string {
	list := []string{}
	add := func(n uint64, one, more string) {
		if n == 1 {
			list = append(list, "1 "+one)
		} else if n > 1 {
			list = append(list, fmt.Sprintf("%d %s", n, more))
		}
	}
	if r.Conns == 0 {
		return []string{"no conn opened: " + r.FirstError}
	}
	if r.Delivered == 0 {
		list = append(list, "nothing was delivered")
	}
	add(uint64(r.NotOpened), "conn did not open", "conns did not open")
	add(r.Lost, "message lost", "messages lost")
	add(r.Doubled, "message doubled", "messages doubled")
	add(r.Reordered, "message out of order", "messages out of order")
	add(r.Invented, "message that nobody sent", "messages that nobody sent")
	add(r.Altered, "message altered", "messages altered")
	add(r.Conflicts, "offset with two contents", "offsets with two contents")
	add(r.Disagree, "member that disagrees", "members that disagree")
	add(r.Malformed, "frame against the protocol", "frames against the protocol")
	if !allow.Gaps {
		add(r.Gaps, "gap announced", "gaps announced")
	}
	if !allow.Resets {
		add(r.Resets, "reset announced", "resets announced")
	}
	if r.TooLong > 0 {
		what := fmt.Sprintf("longer than %s, up to %s", seconds(r.MaxPause), seconds(r.PauseMax))
		add(r.TooLong, "room paused for "+what, "rooms paused for "+what)
	}
	if !allow.Closed {
		if r.Reconnect {
			add(uint64(r.Away), "socket that closed did not come back", "sockets that closed did not come back")
		} else {
			add(r.closedSilently(), "socket closed", "sockets closed")
		}
	}
	return list
}

// closedSilently counts the sockets that closed without a word that the router goes away.
func (r *Report) closedSilently() (n uint64) {
	for _, c := range r.Closes {
		if c.Code != goingAway && c.Code != serviceRestart {
			n += c.Count
		}
	}
	return n
}

// Close codes with which a router announces that it goes away.
const (
	goingAway      = 1001
	serviceRestart = 1012
)

// seconds writes milliseconds as seconds, to three digits or to the millisecond.
func seconds(ms float64) string { return fmt.Sprintf("%.4g s", ms/1e3) }

func (r *Report) verdict() string {
	if !r.Held {
		return "The promises did not hold: " + strings.Join(r.Broken, ", ") + "."
	}
	text := fmt.Sprintf("The promises held: each of %s messages came to every member entitled to it, once and in order", thousands(float64(r.Acked)))
	if r.Gaps+r.Resets > 0 {
		text += fmt.Sprintf("; %s and %s were announced", plural(int(r.Gaps), "gap"), plural(int(r.Resets), "reset"))
		if r.Taken > 0 {
			text += fmt.Sprintf(", which took %s from members who lack them", plural(int(r.Taken), "acknowledged message"))
		}
	}
	if r.Closed > 0 {
		text += fmt.Sprintf("; %s closed", plural(int(r.Closed), "socket"))
		if r.Reconnect {
			text += fmt.Sprintf(", %d resumed whole", r.ResumedWhole)
		}
	}
	return text + "."
}
