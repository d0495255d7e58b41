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
	Name string `arg:"" help:"The room's name."`
	asked
}

// Run prints what the cluster knows of a room.
func (c *roomCommand) Run(w *world) error {
	if err := proto.CheckRoom(c.Name); err != nil {
		return usage(fmt.Sprintf("room %q: %v", c.Name, err))
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
	return printRoom(w.stdout, &room)
}

func printRoom(w io.Writer, room *admin.RoomDocument) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) { fmt.Fprintf(t, label+"\t"+format+"\n", args...) }
	line("room", "%s", dash(room.Room))
	line("partition", "%d, term %d", room.Partition, room.Term)
	line("owner", "%s", dash(string(room.Owner)))
	line("position", "%s.%d", dash(room.Epoch), room.Offset)
	if room.Kept > 0 {
		line("kept", "%d messages from offset %d, %d bytes", room.Kept, room.First, room.Bytes)
	} else {
		line("kept", "nothing")
	}
	line("members", "%d", room.Members)
	for _, id := range slices.Sorted(maps.Keys(room.Routers)) {
		line("", "%d on %s", room.Routers[id], dash(string(id)))
	}
	return t.Flush()
}
