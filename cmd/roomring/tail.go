package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/roomring/roomring/admin"
)

// tail tells the messages of the room as they come, until Ctrl-C.
func (c *roomCommand) tail(w *world) error {
	q := url.Values{"room": {c.Name}}
	if c.Payload {
		q.Set("payload", "1")
	}
	p := tailPrinter{command: c, screen: w.screen(), table: tailTable(c.Payload)}
	if c.JSON {
		p.json = w
	}
	err := c.watch(w.ctx, "/v1/tail", q, p.tell)
	if w.ctx.Err() != nil {
		return nil
	}
	return err
}

// tailPrinter prints the events of one tail.
type tailPrinter struct {
	command *roomCommand
	screen  screen
	table   *table
	json    *world // where lines of JSON go, nil for people
	open    admin.TailOpen
	opened  bool
}

func (p *tailPrinter) tell(name string, data []byte) error {
	if p.json != nil {
		return p.command.writeEvent(p.json.stdout, name, data)
	}
	switch name {
	case admin.EventOpen:
		var open admin.TailOpen
		if err := p.command.readEvent(name, data, &open); err != nil {
			return err
		}
		return p.begin(open)
	case admin.EventMessage:
		var m admin.TailMessage
		if err := p.command.readEvent(name, data, &m); err != nil {
			return err
		}
		return p.message(&m)
	case admin.EventGap:
		var gap admin.TailGap
		if err := p.command.readEvent(name, data, &gap); err != nil {
			return err
		}
		return p.note(warned, "gap: offsets %d to %d were too many to tell", gap.From, gap.To)
	}
	return nil // a newer node has more to tell
}

// begin says from where messages are told, and what happened if it is not the first time.
func (p *tailPrinter) begin(open admin.TailOpen) error {
	last, first := p.open, !p.opened
	p.open, p.opened = open, true
	where := fmt.Sprintf("messages after %s.%d, from %s", dash(open.Epoch), open.Offset, dash(string(open.Owner)))
	switch {
	case first:
		_, err := fmt.Fprintf(p.screen.w, "\n%s\n", where)
		return err
	case open.Reset || open.Epoch != last.Epoch:
		return p.note(bad, "reset: the room begins anew: %s", where)
	case open.Owner != last.Owner:
		return p.note(plain, "moved: %s", where)
	}
	return p.note(plain, "again: %s", where)
}

func (p *tailPrinter) note(c paint, format string, args ...any) error {
	_, err := fmt.Fprintln(p.screen.w, p.screen.stroke(c, fmt.Sprintf(format, args...)))
	return err
}

// Widths that hold for most of a tail: its lines are printed one by one, and should stand in line.
const offsetWidth, bytesWidth, publisherWidth, connWidth = 8, 5, 4, 8

func tailTable(payload bool) *table {
	t := &table{columns: []column{{title: "SEEN"}, {title: "OFFSET", right: true}, {title: "KIND"}, {title: "BYTES", right: true},
		{title: "BY"}, {title: "CONN"}}, widths: []int{len("15:04:05.000"), offsetWidth, len("binary"), bytesWidth, publisherWidth, connWidth}}
	if payload {
		t.columns = append(t.columns, column{title: "PAYLOAD", shrinks: true})
		t.widths = append(t.widths, len("PAYLOAD"))
	}
	return t
}

func (p *tailPrinter) message(m *admin.TailMessage) error {
	conn := m.Conn[max(0, len(m.Conn)-connWidth):] // enough to tell some hundred conns apart
	if strings.Trim(m.Conn, "0") == "" {
		conn = "http"
	}
	texts := []string{time.UnixMilli(m.Seen).Format("15:04:05.000"), fmt.Sprint(m.Offset), m.Kind, fmt.Sprint(m.Bytes), string(m.Publisher), conn}
	if p.command.Payload {
		texts = append(texts, payload(m.Kind, m.Payload))
	}
	p.table.row(texts...)
	return p.table.flush(p.screen)
}

// payload shows what a message says on one line: text as it is but for what a terminal would obey,
// bytes as they would be written in Go.
func payload(kind string, b []byte) string {
	if kind != "text" || !utf8.Valid(b) {
		return strings.Trim(strconv.QuoteToASCII(string(b)), `"`)
	}
	var text strings.Builder
	for _, r := range string(b) {
		if unicode.IsPrint(r) {
			text.WriteRune(r)
		} else {
			text.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return text.String()
}
