//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// trial is what is run for rows of the table: one event, again and again, in a cluster of its own.
type trial struct {
	rows  []promise // that it fills
	needs need
	name  string
	times []time.Duration // how long the fault lasts, in turn; none where that is in its nature
	draw  func(*dealer) event
	play  play
}

// A table of figures is about shards: which of them leads, or that none does, is made so before.
var trials = []trial{
	{[]promise{shardJoins, shardDrains}, 0, "a shard joins, and drains", nil, nobody, playJoinShard},
	{[]promise{shardsRolled}, 0, "shards restart, one after the other", nil, nobody, playRollShards},
	{[]promise{shardKilled}, 0, "a shard is killed", nil, nobody, playKillOther},
	{[]promise{leaderKilled}, 0, "the shard that leads is killed", nil, nobody, playKillLeadingShard},
	{[]promise{shardSilent, nodeBack}, 0, "a shard is stopped", []time.Duration{3 * time.Second, 3 * time.Second, 10 * time.Second, 3 * time.Second, 30 * time.Second}, nobody, playStopOther},
	{[]promise{leaderSilent}, 0, "the shard that leads is stopped", []time.Duration{4 * time.Second}, nobody, playStopLeadingShard},
	{[]promise{shardCut, splitHeals}, needNetwork, "a shard is cut off", []time.Duration{5 * time.Second}, nobody, playCutOffOther},
	{[]promise{leaderCut}, needNetwork, "the shard that leads is cut off", []time.Duration{5 * time.Second}, nobody, playCutOffLeadingShard},
	{[]promise{routerKilled}, 0, "a router is killed", nil, oneOf(routers), playKill},
	{[]promise{splitBoth}, needNetwork, "split", []time.Duration{5 * time.Second}, split, playSplit},
	{[]promise{splitOneWay}, needNetwork, "one-way split", []time.Duration{5 * time.Second}, split, playOneWay},
	{[]promise{copiesLost}, 0, copiesTrial, nil, twoOf(shards), playKillCopies},
	{[]promise{copiesSilent}, 0, "two shards are stopped", []time.Duration{5 * time.Second}, twoOf(shards), playSilentCopies},
}

// copiesTrial is the one in which rooms are lost.
const copiesTrial = "two shards are killed"

// line is a row of the table with its figures.
type line struct {
	Row    string   `json:"row"`
	Runs   int      `json:"runs"`
	Failed []string `json:"failed,omitempty"`

	Lost      uint64 `json:"lost"`
	Doubled   uint64 `json:"doubled"`
	Reordered uint64 `json:"reordered"`
	Other     uint64 `json:"other"` // invented, altered, in conflict, in disagreement, malformed
	Gaps      uint64 `json:"gaps"`
	Resets    uint64 `json:"resets"`
	Closed    uint64 `json:"closed"`
	Resumed   uint64 `json:"resumed_whole"`
	Unplaced  uint64 `json:"unplaced"`

	P50      float64 `json:"pause_p50_ms"` // the median of the runs
	P99      float64 `json:"pause_p99_ms"` // the highest of the runs
	Max      float64 `json:"pause_max_ms"` // the same
	Back     float64 `json:"back_max_ms"`  // from a socket's end to the first line on its next one, at most
	Promised string  `json:"promised"`
}

// runTable runs all trials, prints the table, and fails if any of them did.
func (s *stage) runTable() error {
	o := s.options
	fmt.Printf("seed %d; again: %s\n", o.seed, o.again())
	d := newDealer(o.seed, nil, false)
	var lines []line
	var failed []error
	for i, t := range trials {
		if t.needs != 0 && s.network == nil {
			fmt.Printf("skipped: %s: %s\n", t.name, s.lacking)
			continue
		}
		r := round{number: i + 1}
		for k := range o.runs {
			e := t.draw(d)
			if e.fault, e.play, e.lasts = t.name, t.play, 0; len(t.times) > 0 {
				e.lasts = t.times[k%len(t.times)]
			}
			r.events = append(r.events, e)
		}
		results, err := s.play(r)
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err != nil {
			fmt.Println("FAILED:", err)
			failed = append(failed, err)
		}
		for _, p := range t.rows {
			lines = append(lines, sum(p, results, err))
		}
		if len(t.times) == 1 {
			lines[len(lines)-len(t.rows)].Row += fmt.Sprintf(" for %s", t.times[0])
		}
	}
	fmt.Println()
	fmt.Print(markdown(o, lines))
	if o.report != "" {
		if err := writeReport(o, lines); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// sum is the row of a promise.
func sum(p promise, results []result, err error) line {
	l := line{Row: p.row, Promised: p.inTable()}
	if err != nil {
		l.Failed = append(l.Failed, err.Error())
	}
	var p50s []float64
	events := map[int]bool{}
	for _, r := range results {
		if r.promise.row != p.row {
			continue
		}
		events[r.event] = true
		c := &r.counts
		l.Lost, l.Doubled, l.Reordered = l.Lost+c.Lost, l.Doubled+c.Doubled, l.Reordered+c.Reordered
		l.Other += c.Invented + c.Altered + c.Conflicts + c.Disagree + c.Malformed
		l.Gaps, l.Resets, l.Closed = l.Gaps+c.Gaps, l.Resets+c.Resets, l.Closed+c.Closed
		l.Resumed, l.Unplaced = l.Resumed+c.ResumedWhole, l.Unplaced+c.Unplaced
		p50s = append(p50s, c.PauseP50)
		l.P99, l.Max, l.Back = max(l.P99, c.PauseP99), max(l.Max, c.PauseMax), max(l.Back, c.BackMax)
	}
	if l.Runs = len(events); l.Runs > 0 {
		slices.Sort(p50s)
		l.P50 = p50s[len(p50s)/2]
	}
	return l
}

// inTable is what is promised of pauses, for people.
func (p promise) inTable() string {
	switch {
	case p.words != "":
		return p.words
	case p.p99 > 0:
		return "p99 under " + p.p99.String()
	case p.longest > 0:
		return "under " + p.longest.String()
	}
	return "nothing"
}

// markdown is the table as the documentation has it.
func markdown(o *options, lines []line) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rooms of %d members, %.0f deliveries/s, 3 shards and 2 routers on %d cores. A pause is a room's longest time from send to delivery. "+
		"p50 over rooms: the median of the runs; p99 over rooms, and the longest: the worst of the runs.\n\n", o.rooms, o.members, o.rate, runtime.NumCPU())
	b.WriteString("| event | runs | lost, doubled, reordered, other | sockets closed | pause p50, p99, longest | promised |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, l := range lines {
		closed := fmt.Sprint(l.Closed)
		if l.Closed > 0 {
			closed = fmt.Sprintf("%d, %d resumed whole, at most %s ms later", l.Closed, l.Resumed, ms(l.Back))
		}
		row := l.Row
		if l.Resets > 0 {
			row += fmt.Sprintf(" (%d members told)", l.Resets)
		}
		if len(l.Failed) > 0 {
			row += " **FAILED**"
		}
		fmt.Fprintf(&b, "| %s | %d | %d, %d, %d, %d | %s | %s, %s, %s ms | %s |\n",
			row, l.Runs, l.Lost, l.Doubled, l.Reordered, l.Other, closed, ms(l.P50), ms(l.P99), ms(l.Max), l.Promised)
	}
	return b.String()
}

func writeReport(o *options, lines []line) error {
	b, err := json.MarshalIndent(struct {
		Seed    uint64  `json:"seed"`
		Rooms   int     `json:"rooms"`
		Members int     `json:"members"`
		Rate    float64 `json:"rate"`
		Cores   int     `json:"cores"`
		Rows    []line  `json:"rows"`
	}{o.seed, o.rooms, o.members, o.rate, runtime.NumCPU(), lines}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.report, append(b, '\n'), 0o644)
}

// other is a shard that does not lead; in turn, so that it is not always the same.
func (s *stage) other() (string, error) {
	leader, err := s.leader()
	if err != nil {
		return "", err
	}
	for i := range shards {
		if id := shards[(s.event+i)%len(shards)]; id != leader {
			return id, nil
		}
	}
	return "", fmt.Errorf("no shard but %s", leader)
}

// leadingShard is the shard that leads. Routers that lead are restarted until a shard does.
func (s *stage) leadingShard() (string, error) {
	prepare := promise{row: "preparation", closes: true}
	for range 20 {
		leader, err := s.leader()
		if err != nil || !isRouter(leader) {
			return leader, err
		}
		if err := s.drain(prepare, leader); err != nil {
			return "", err
		}
		if err := s.join(prepare, leader); err != nil {
			return "", err
		}
	}
	return "", errors.New("no shard comes to lead")
}

func playRollShards(s *stage, _ event) error {
	for _, id := range shards {
		if err := s.replace(id, shardsRolled, shardsRolled); err != nil {
			return err
		}
	}
	return nil
}

func playKillOther(s *stage, _ event) error {
	id, err := s.other()
	if err != nil {
		return err
	}
	return s.killAll(shardKilled, id)
}

func playKillLeadingShard(s *stage, _ event) error {
	id, err := s.leadingShard()
	if err != nil {
		return err
	}
	return s.killAll(leaderKilled, id)
}

func playStopOther(s *stage, e event) error {
	id, err := s.other()
	if err != nil {
		return err
	}
	return s.stop(shardSilent, e.lasts, id)
}

func playStopLeadingShard(s *stage, e event) error {
	id, err := s.leadingShard()
	if err != nil {
		return err
	}
	return s.stop(leaderSilent, e.lasts, id)
}

func playCutOffOther(s *stage, e event) error {
	id, err := s.other()
	if err != nil {
		return err
	}
	return s.cutOff(shardCut, drop, id, e.lasts)
}

func playCutOffLeadingShard(s *stage, e event) error {
	id, err := s.leadingShard()
	if err != nil {
		return err
	}
	return s.cutOff(leaderCut, drop, id, e.lasts)
}
