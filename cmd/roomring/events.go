package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/roomring/roomring/admin"
)

type eventsCommand struct {
	Kind      []string `name:"kind" placeholder:"KIND,..." help:"Only these kinds."`
	NoFollow  bool     `name:"no-follow" help:"Tell what the node has kept, then end. Without it, go on until Ctrl-C."`
	Reconnect bool     `name:"reconnect" help:"When the node goes away, wait for it to come back."`
	asked
}

func (eventsCommand) Help() string {
	return `Tells what the node has seen happen in the cluster, the kept ones first, up to 1000. Every node sees it with
its own eyes and keeps its own list.

  roomring events
  roomring events --kind death,failover,reset
  roomring events --no-follow --json | jq -r 'select(.kind == "failover").partitions'

Kinds: ` + strings.Join(feedKinds[:9], ", ") + `,
` + strings.Join(feedKinds[9:], ", ") + `.
With --json every line is an object, and its "event" says what it is: feed, or lost (how many events this
command was too slow for). Exit code: 0 ended by Ctrl-C or --no-follow, 1 the stream broke off.`
}

// feedKinds are the kinds of admin.FeedEvent.
var feedKinds = []string{admin.FeedJoin, admin.FeedSuspect, admin.FeedBack, admin.FeedDrain, admin.FeedLeft, admin.FeedDeath, admin.FeedForgotten,
	admin.FeedFailover, admin.FeedHandoff, admin.FeedReset, admin.FeedCopy, admin.FeedSingle, admin.FeedSettled, admin.FeedUnsettled,
	admin.FeedLeader, admin.FeedVoters, admin.FeedFounded}

// Run tells events.
func (c *eventsCommand) Run(w *world) error {
	for _, kind := range c.Kind {
		if !slices.Contains(feedKinds, kind) {
			return usage(fmt.Sprintf("--kind: %q is not one of %s", kind, strings.Join(feedKinds, ", ")))
		}
	}
	if c.Reconnect && c.NoFollow {
		return usage("--reconnect makes no sense with --no-follow")
	}
	p := &feedPrinter{command: c, screen: w.screen()}
	away := false
	for {
		err := c.once(w.ctx, p)
		switch {
		case err == nil, w.ctx.Err() != nil:
			return nil
		case !c.Reconnect || !passing(err):
			return err
		}
		if p.told || !away { // once per time that it is away
			fmt.Fprintf(w.stderr, "%v\nwaiting for it\n", err)
		}
		p.told, away = false, true
		if pause(w.ctx, time.Second) != nil {
			return nil
		}
	}
}

// quietTime is how long nothing must come until --no-follow takes the kept events for told: they come
// at once, and nothing marks the last.
const quietTime = time.Second

// once follows one stream.
func (c *eventsCommand) once(ctx context.Context, p *feedPrinter) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	tell := p.tell
	if c.NoFollow {
		quiet := time.AfterFunc(askTimeout, end) // until the stream has begun, the node has its time
		defer quiet.Stop()
		tell = func(name string, data []byte) error {
			quiet.Reset(quietTime)
			return p.tell(name, data)
		}
	}
	err := c.watch(ctx, "/v1/events", url.Values{"only": {"feed"}}, tell)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// passing reports whether the node may answer later.
func passing(err error) bool {
	var away *awayError
	return errors.Is(err, errCutOff) || errors.As(err, &away)
}

// feedPrinter prints the events of streams of one node.
type feedPrinter struct {
	command *eventsCommand
	screen  screen
	seq     uint64 // of the newest event told
	at      int64  // when that was
	day     string
	told    bool // something, by this stream
}

func (p *feedPrinter) tell(name string, data []byte) error {
	c := p.command
	p.told = true
	switch name {
	case admin.EventFeed:
		var e admin.FeedEvent
		if err := c.readEvent(name, data, &e); err != nil {
			return err
		}
		if !p.news(&e) || len(c.Kind) > 0 && !slices.Contains(c.Kind, e.Kind) {
			return nil
		}
		if c.JSON {
			return c.writeEvent(p.screen.w, name, data)
		}
		return p.print(&e)
	case admin.EventLost:
		var lost admin.LostEvent
		if err := c.readEvent(name, data, &lost); err != nil {
			return err
		}
		if c.JSON {
			return c.writeEvent(p.screen.w, name, data)
		}
		_, err := fmt.Fprintln(p.screen.w, p.screen.stroke(warned, plural(int(min(lost.Events, 1<<31)), "event")+" lost: this command was too slow for them"))
		return err
	}
	return nil // a newer node has more to tell
}

// news reports whether the event was not told yet: a stream that begins again tells the kept ones
// again. A node that was restarted counts from 1 anew, later.
func (p *feedPrinter) news(e *admin.FeedEvent) bool {
	if e.Seq <= p.seq && e.At <= p.at {
		return false
	}
	p.seq, p.at = e.Seq, max(p.at, e.At)
	return true
}

// kindWidth is the longest kind's.
const kindWidth = 9

func (p *feedPrinter) print(e *admin.FeedEvent) error {
	at := time.UnixMilli(e.At)
	if day := at.Format(time.DateOnly); day != p.day {
		p.day = day
		if _, err := fmt.Fprintln(p.screen.w, day); err != nil {
			return err
		}
	}
	kind := dash(e.Kind)
	line := at.Format("15:04:05.000") + "  " + p.screen.stroke(feedPaint(e.Kind), kind)
	if text := sentence(e); text != "" {
		line += strings.Repeat(" ", gutter+max(0, kindWidth-cells(kind))) + text
	}
	_, err := fmt.Fprintln(p.screen.w, line)
	return err
}

func feedPaint(kind string) paint {
	switch kind {
	case admin.FeedDeath, admin.FeedReset:
		return bad
	case admin.FeedSuspect, admin.FeedDrain, admin.FeedForgotten, admin.FeedFailover, admin.FeedSingle, admin.FeedUnsettled:
		return warned
	case admin.FeedJoin, admin.FeedBack, admin.FeedSettled:
		return good
	}
	return plain
}

// sentence words an event of any kind, also one that we do not know.
func sentence(e *admin.FeedEvent) string {
	var parts []string
	switch {
	case e.Node != "":
		parts = append(parts, printable(string(e.Node)))
	case e.Kind == admin.FeedLeader:
		parts = append(parts, "nobody")
	}
	if e.Partitions > 0 {
		parts = append(parts, plural(e.Partitions, "partition"))
	}
	switch {
	case e.From == "" && e.To == e.Node: // it is named already
	case e.From != "" && e.To != "":
		parts = append(parts, printable(string(e.From))+" → "+printable(string(e.To)))
	case e.From != "":
		parts = append(parts, "from "+printable(string(e.From)))
	case e.To != "":
		parts = append(parts, "to "+printable(string(e.To)))
	}
	text := strings.Join(parts, ", ")
	if e.Reason != "" {
		if text != "" {
			text += ": "
		}
		text += printable(e.Reason)
	}
	return text
}
