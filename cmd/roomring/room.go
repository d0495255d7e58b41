package main

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"text/tabwriter"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

type roomCommand struct {
	Name    string `arg:"" help:"The room's name."`
	Tail    bool   `name:"tail" help:"Then tell its messages as they come, until Ctrl-C: place, kind, size, who sent it."`
	Payload bool   `name:"payload" help:"With --tail, what they say too. Needs the --admin-token."`
	asked
}

func (roomCommand) Help() string {
	return `  roomring room lobby
  roomring room lobby --tail
  roomring room lobby --tail --payload --json

With --tail, each message is a line; a gap says that there were more than the node could tell. With --json
every line is an object, and its "event" says what it is: open, message, gap.
Exit code: 0 an answer came, and a tail was ended by Ctrl-C; 1 no such room, no answer, or the tail broke off.`
}

// Run prints what the cluster knows of a room.
func (c *roomCommand) Run(w *world) error {
	if err := proto.CheckRoom(c.Name); err != nil {
		return usage(fmt.Sprintf("room %q: %v", c.Name, err))
	}
	if c.Payload && !c.Tail {
		return usage("--payload goes with --tail")
	}
	if c.Tail && c.JSON { // lines of one kind
		return c.tail(w)
	}
	body, err := c.get(w.ctx, "/v1/room", url.Values{"room": {c.Name}})
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := w.stdout.Write(body)
		return err
	}
	var room admin.RoomDocument
	if err := c.read(body, &room); err != nil {
		return err
	}
	if err := printRoom(w.stdout, &room); err != nil || !c.Tail {
		return err
	}
	return c.tail(w)
}

func printRoom(w io.Writer, room *admin.RoomDocument) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) { fmt.Fprintf(t, label+"\t"+format+"\n", args...) }
	line("room", "%s", dash(room.Room))
	line("partition", "%d, term %d", room.Partition, room.Term)
	line("owner", "%s", dash(string(room.Owner)))
	line("position", "%s.%d", dash(room.Epoch), room.Offset)
	if room.Kept > 0 {
		line("kept", "%s from offset %d, %s", plural(int(room.Kept), "message"), room.First, plural(int(room.Bytes), "byte"))
	} else {
		line("kept", "nothing")
	}
	line("members", "%d", room.Members)
	for _, id := range slices.Sorted(maps.Keys(room.Routers)) {
		line("", "%d on %s", room.Routers[id], dash(string(id)))
	}
	return t.Flush()
}
