package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/roomring/roomring/internal/settings"
)

type healthCommand struct {
	Node  string        `name:"node" placeholder:"HOST:PORT" help:"Admin address of the node (default: ROOMRING_ADMIN, else 127.0.0.1:8001 or 127.0.0.1:7402, whichever is there)."`
	Ready bool          `name:"ready" help:"Ask whether it should be given work (/readyz), not only whether it runs (/healthz)."`
	Wait  time.Duration `name:"wait" placeholder:"TIME" default:"0s" help:"Go on asking until the answer is yes or so much time has passed."`
}

func (healthCommand) Help() string {
	return `Asks a node whether it runs, or with --ready whether the next one may be restarted: it is in the cluster, the
cluster has all its voters, and a shard has made the copies that are its to make. Needs no token. It is the health
check of the image, and what a script waits with between two nodes:

  roomring health
  roomring health --ready --wait 5m --node 10.0.0.7:7402

Without --node the node is the one on this machine, or in this container: it listens where ROOMRING_ADMIN says,
or at the usual port of a router or of a shard.
Exit code: 0 yes, 1 no, and why, or nothing answers, 2 wrong use.`
}

const (
	// healthTimeout bounds one question: a node that lives answers in a millisecond.
	healthTimeout = 3 * time.Second
	// healthEvery is how long --wait waits between two questions.
	healthEvery = 250 * time.Millisecond
	// maxHealth bounds the answer in bytes.
	maxHealth = 64 << 10
)

// usualAdmins are where nodes listen that were told nothing else: a router, a shard.
var usualAdmins = []string{"127.0.0.1:8001", "127.0.0.1:7402"}

// Run asks, and with --wait goes on asking.
func (c *healthCommand) Run(w *world) error {
	if c.Wait < 0 {
		return usage(fmt.Sprintf("--wait: %s is less than nothing", c.Wait))
	}
	nodes, err := c.nodes()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(w.ctx, c.Wait)
	defer stop()
	told := ""
	for {
		node, err := c.ask(w.ctx, nodes)
		if err == nil {
			fmt.Fprintf(w.stdout, "%s is %s\n", node, c.wanted())
			return nil
		}
		if c.Wait > 0 && err.Error() != told {
			told = err.Error()
			fmt.Fprintf(w.stderr, "waiting: %s\n", told)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(healthEvery):
		}
	}
}

// nodes are the addresses to ask, until one is there.
func (c *healthCommand) nodes() ([]string, error) {
	from, address := "--node", c.Node
	if address == "" {
		from = settings.EnvName("admin")
		address = os.Getenv(from)
	}
	if address == "" {
		return usualAdmins, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return nil, usage(fmt.Sprintf("%s: %q is not HOST:PORT", from, address))
	}
	// Who listens on every address listens on loopback, too.
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return []string{net.JoinHostPort(host, port)}, nil
}

// wanted is what the node should be.
func (c *healthCommand) wanted() string {
	if c.Ready {
		return "ready"
	}
	return "healthy"
}

// ask asks the first node that is there.
func (c *healthCommand) ask(ctx context.Context, nodes []string) (node string, err error) {
	for _, node := range nodes {
		err := c.askOne(ctx, node)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return node, err
		}
	}
	return "", fmt.Errorf("nothing answers at %s: is a node running, and is this its --admin address?", strings.Join(nodes, " or "))
}

// askOne returns nil when the node says yes, and otherwise why not.
func (c *healthCommand) askOne(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	path := map[bool]string{false: "/healthz", true: "/readyz"}[c.Ready]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+node+path, nil)
	if err != nil {
		return usage(fmt.Sprintf("--node: %v", err))
	}
	// No proxy: the node is here, or in this network.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %s", node, healthTimeout)
	case err != nil:
		return fmt.Errorf("ask %s: %w", node, errors.Unwrap(err)) // what client.Do wraps is the whole URL
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxHealth))
	if answer.StatusCode == http.StatusOK && err == nil {
		return nil
	}
	return fmt.Errorf("%s is not %s: %s", node, c.wanted(), whyNot(answer.Status, body))
}

// whyNot is the node's own reason, or what it answered if that is no node's answer.
func whyNot(status string, body []byte) string {
	var said struct {
		Reason   string            // of /healthz
		Reasons  []string          // of /readyz
		Messages map[string]string // a sentence for each of them
	}
	if json.Unmarshal(body, &said) != nil || said.Reason == "" && len(said.Reasons) == 0 {
		return fmt.Sprintf("it answered %s: is this a node's --admin address?", printable(status))
	}
	var why []string
	for _, reason := range slices.Concat([]string{said.Reason}, said.Reasons) {
		if sentence := said.Messages[reason]; sentence != "" {
			reason += " (" + sentence + ")"
		}
		if reason != "" {
			why = append(why, printable(reason))
		}
	}
	return strings.Join(why, ", ")
}
