package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// decided is a command that changes a cluster in a way that nothing undoes: it shows what it is about
// to do and asks.
type decided struct {
	asked
	Yes bool `name:"yes" help:"Do not ask. Needed where no person can answer."`
}

var (
	errDeclined = errors.New("nothing was done") // the answer was not yes
	errNobody   = usage("nobody is here to confirm this: give --yes if it is meant")
)

// ready refuses, before anything is asked of a node, what could not be confirmed later.
func (c *decided) ready(w *world) error {
	if c.Yes || w.stdinTerminal && w.stderrTerminal {
		return nil
	}
	return errNobody
}

// ring is what the node knows of the cluster, for the person to look at.
func (c *decided) ring(w *world) (*ringDocument, error) {
	body, err := c.get(w.ctx, "/v1/ring", url.Values{})
	if err != nil {
		return nil, err
	}
	ring := &ringDocument{}
	return ring, c.read(body, ring)
}

// confirm shows what is about to happen and waits for the word yes. What is shown goes to stderr:
// stdout is for the outcome.
func (c *decided) confirm(w *world, what string) error {
	fmt.Fprintln(w.stderr, what)
	if c.Yes {
		return nil
	}
	fmt.Fprint(w.stderr, "Type yes to go on: ")
	answer := make(chan string, 1)
	go func() { // a read cannot be ended: after a signal it ends with the process
		line, err := bufio.NewReader(io.LimitReader(w.stdin, 1<<10)).ReadString('\n')
		if err != nil && line == "" {
			close(answer)
			return
		}
		answer <- line
	}()
	select {
	case line, ok := <-answer:
		if !ok {
			return errNobody // what looked like a terminal is none, such as /dev/null
		}
		if strings.TrimSpace(line) != "yes" {
			return errDeclined
		}
		return nil
	case <-w.ctx.Done():
		return errDeclined
	}
}

// carryOut has the node do it. It prints the node's answer with --json, else what say makes of it.
func (c *decided) carryOut(w *world, path string, request, answer any, say func() string) error {
	body, err := c.post(w.ctx, path, request)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = w.stdout.Write(body)
		return err
	}
	if err := c.read(body, answer); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.stdout, say())
	return err
}
