package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/roomring/roomring/admin"
)

type roomsCommand struct {
	Prefix string `name:"prefix" placeholder:"TEXT" help:"Only rooms whose names begin with this."`
	After  string `name:"after" placeholder:"NAME" help:"Only rooms after this one by name: the next page."`
	Sort   string `name:"sort" placeholder:"ORDER" default:"name" help:"name, messages (per second, the busiest first) or members (the fullest first)."`
	Limit  int    `name:"limit" placeholder:"N" default:"100" help:"Rooms to list, 1 to 1000."`
	All    bool   `name:"all" help:"All rooms, by name, however many."`
	asked
}

func (roomsCommand) Help() string {
	return `Asks one node, which asks every shard for the rooms that it owns.

  roomring rooms --prefix game-
  roomring rooms --sort messages --limit 20
  roomring rooms --all --json | jq -r '.rooms[].room'

With --all --json there is an answer for every 1000 rooms. MSG/S is over the last second, with --sort messages
alone: the shards count for that second first. Exit code: 0 the list is whole, 1 it is not (an owner gave no answer, or a partition has none) or
nothing answered.`
}

// Run lists rooms.
func (c *roomsCommand) Run(w *world) error {
	if err := c.check(); err != nil {
		return err
	}
	t := roomsTable(c.Sort)
	limit, after, shown := c.Limit, c.After, 0
	if c.All {
		limit = admin.MaxRooms
	}
	for {
		page, body, err := c.page(w, after, limit)
		if err != nil {
			return err
		}
		shown += len(page.Rooms)
		if err := c.print(w, t, page, body); err != nil {
			return err
		}
		last := len(page.Rooms) - 1
		if !c.All || !page.More || last < 0 || page.Rooms[last].Room <= after {
			return c.end(w, page, shown)
		}
		after = page.Rooms[last].Room
	}
}

func (c *roomsCommand) check() error {
	switch c.Sort {
	case admin.SortName:
	case admin.SortMessages, admin.SortMembers:
		if c.After != "" || c.All {
			return usage("--after and --all go by name: leave --sort out")
		}
	default:
		return usage(fmt.Sprintf("--sort: %q is not one of name, messages, members", c.Sort))
	}
	if c.Limit < 1 || c.Limit > admin.MaxRooms {
		return usage(fmt.Sprintf("--limit: %d is out of bounds: want 1 to %d, or --all", c.Limit, admin.MaxRooms))
	}
	return nil
}

// page asks for rooms. body is the answer as it came.
func (c *roomsCommand) page(w *world, after string, limit int) (page *admin.RoomsDocument, body []byte, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}, "sort": {c.Sort}}
	if c.Prefix != "" {
		q.Set("prefix", c.Prefix)
	}
	if after != "" {
		q.Set("after", after)
	}
	if body, err = c.get(w.ctx, "/v1/rooms", q); err != nil {
		return nil, nil, err
	}
	page = &admin.RoomsDocument{}
	return page, body, c.read(body, page)
}

func roomsTable(sort string) *table {
	t := &table{columns: []column{{title: "ROOM", shrinks: true}, {title: "MEMBERS", right: true}, {title: "OFFSET", right: true},
		{title: "KEPT", right: true}, {title: "SIZE", right: true}, {title: "PARTITION", right: true}, {title: "OWNER", shrinks: true}}}
	if sort == admin.SortMessages {
		t.columns = append(t.columns, column{title: "MSG/S", right: true})
	}
	return t
}

func (c *roomsCommand) print(w *world, t *table, page *admin.RoomsDocument, body []byte) error {
	if c.JSON {
		_, err := w.stdout.Write(body)
		return err
	}
	for _, r := range page.Rooms {
		bytes := size(r.Bytes)
		if r.Bytes == 0 {
			bytes = "0B"
		}
		texts := []string{r.Room, fmt.Sprint(r.Members), fmt.Sprint(r.Offset), fmt.Sprint(r.Kept), bytes, fmt.Sprint(r.Partition), string(r.Owner)}
		if c.Sort == admin.SortMessages {
			texts = append(texts, fmt.Sprintf("%.1f", r.MessagesPerSecond))
		}
		t.row(texts...)
	}
	return t.flush(w.screen())
}

// end says how much of the whole was shown. A list that lacks rooms is a failure: who counts them must
// not take it for all.
func (c *roomsCommand) end(w *world, page *admin.RoomsDocument, shown int) error {
	if !c.JSON {
		fmt.Fprintf(w.stdout, "\n%s\n", c.total(page, shown))
	}
	var lacks []string
	for _, id := range page.Missing {
		lacks = append(lacks, printable(string(id))+" gave no answer")
	}
	if page.Unowned > 0 {
		lacks = append(lacks, "nobody owns "+plural(page.Unowned, "partition"))
	}
	if len(lacks) > 0 {
		return errors.New("the list is not whole: " + strings.Join(lacks, ", "))
	}
	return nil
}

func (c *roomsCommand) total(page *admin.RoomsDocument, shown int) string {
	text := plural(shown, "room")
	if c.Prefix != "" {
		text += " with prefix " + printable(c.Prefix)
	}
	if !page.More {
		return text
	}
	if c.Sort == admin.SortName && len(page.Rooms) > 0 {
		return text + ", and more: --all, or the next page with --after " + quote(page.Rooms[len(page.Rooms)-1].Room)
	}
	return text + ", and more: --limit"
}

// quote makes a name one word of a shell's command line. One that cannot be shown as it is cannot be
// copied either.
func quote(name string) string {
	return "'" + strings.ReplaceAll(printable(name), "'", `'\''`) + "'"
}
