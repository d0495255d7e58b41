package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sample is what a process looks like at a moment.
type sample struct {
	At          float64 `json:"at"` // seconds since the beginning
	Node        string  `json:"node"`
	Guest       bool    `json:"guest"` // a fourth shard was there
	Busy        bool    `json:"busy"`  // it came or went
	RSS         float64 `json:"rss"`   // bytes
	Heap        float64 `json:"heap"`  // bytes in use right after a collection
	Goroutines  float64 `json:"goroutines"`
	Descriptors float64 `json:"descriptors"` // those of clients not counted
	Conns       float64 `json:"conns"`
	Rooms       float64 `json:"rooms"`
}

// silentFor is how long a node may have no time to answer: the machine may have too much to do.
const silentFor = time.Minute

// watch measures the steady nodes until ctx ends.
func (c *cluster) watch(ctx context.Context, o options, began time.Time, h *churn, progress io.Writer) (all []sample) {
	tick := time.NewTicker(o.sample)
	defer tick.Stop()
	early, measured := false, map[*node]time.Time{}
	for _, n := range c.steady() {
		measured[n] = began
	}
	for {
		select {
		case <-ctx.Done():
			c.profile("end")
			return all
		case <-tick.C:
		}
		before := c.phase()
		var now []sample
		for _, n := range c.steady() {
			s, err := n.measure()
			if err != nil {
				if (n.lost() || time.Since(measured[n]) > silentFor) && ctx.Err() == nil {
					c.fail(err)
				}
				continue
			}
			s.At = time.Since(began).Seconds()
			now, measured[n] = append(now, s), time.Now()
		}
		after := c.phase()
		for i := range now {
			now[i].Guest, now[i].Busy = after.guest, before.busy || after.busy || before != after
		}
		all = append(all, now...)
		if !early && time.Since(began) > warmUp(o.time) {
			early = true
			c.profile("early")
		}
		tell(progress, now, h)
	}
}

func tell(w io.Writer, now []sample, h *churn) {
	if len(now) == 0 {
		return
	}
	fmt.Fprintf(w, "%5.0f s", now[0].At)
	for _, s := range now {
		fmt.Fprintf(w, "  %s %.1f MB %.0f go", s.Node, s.Heap/(1<<20), s.Goroutines)
	}
	fmt.Fprintf(w, "  %d opened, %d messages, %d faults\n", h.tally.opened.Load(), h.tally.messages.Load(), h.tally.faults.Load())
}

// measure has the node collect its garbage first: what is in use then does not depend on when it did
// so last.
func (n *node) measure() (sample, error) {
	if _, err := n.ask("/debug/pprof/heap?gc=1"); err != nil {
		return sample{}, err
	}
	text, err := n.ask("/metrics")
	if err != nil {
		return sample{}, err
	}
	m := parseMetrics(text)
	s := sample{
		Node: n.id, RSS: m["process_resident_memory_bytes"], Heap: m["go_memory_classes_heap_objects_bytes"], Goroutines: m["go_goroutines"],
		Conns: m["roomring_router_conns"], Rooms: m["roomring_shard_rooms"] + m["roomring_hub_rooms"],
	}
	s.Descriptors = m["process_open_fds"] - s.Conns
	if s.Heap == 0 || s.Goroutines == 0 {
		return s, fmt.Errorf("%s does not measure itself", n.id)
	}
	return s, nil
}

// parseMetrics sums each metric over its labels.
func parseMetrics(text []byte) map[string]float64 {
	m := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		name, _, _ := strings.Cut(line[:at], "{")
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			m[name] += v
		}
	}
	return m
}

// profile writes profiles of the steady nodes, if they are to be kept.
func (c *cluster) profile(when string) {
	if c.keep == "" {
		return
	}
	for _, n := range c.steady() {
		for _, kind := range []string{"heap", "goroutine"} {
			text, err := n.ask("/debug/pprof/" + kind + "?gc=1")
			if err == nil {
				err = os.WriteFile(filepath.Join(c.keep, n.id+"-"+kind+"-"+when+".pb.gz"), text, 0o600)
			}
			if err != nil {
				c.fail(err)
				return
			}
		}
	}
}
