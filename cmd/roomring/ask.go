package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/roomring/roomring/admin"
)

// asked is how a command finds a node's admin port.
type asked struct {
	Node  string `name:"node" placeholder:"HOST:PORT" default:"127.0.0.1:8001" help:"Admin address of any node of the cluster."`
	Token string `name:"token" placeholder:"TOKEN" env:"ROOMRING_ADMIN_TOKEN" help:"Its --admin-token or --admin-read-token; better in ROOMRING_ADMIN_TOKEN."`
	JSON  bool   `name:"json" help:"Print the node's answer as it is."`
}

const (
	askTimeout = admin.ChangeTimeout + 2*time.Second // a node says itself when it gives up
	maxAnswer  = 64 << 20
)

// get asks the node and returns the body of a good answer.
func (n *asked) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	return n.send(ctx, http.MethodGet, url.URL{Path: path, RawQuery: query.Encode()}, nil)
}

// post has the node change something and returns the body of a good answer.
func (n *asked) post(ctx context.Context, path string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return n.send(ctx, http.MethodPost, url.URL{Path: path}, text)
}

// send sends one request; target lacks only scheme and host.
func (n *asked) send(ctx context.Context, method string, target url.URL, text []byte) ([]byte, error) {
	host, _, err := net.SplitHostPort(n.Node)
	if err != nil || host == "" {
		return nil, usage(fmt.Sprintf("--node: %q is not HOST:PORT", n.Node))
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	target.Scheme, target.Host = "http", n.Node
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(text))
	if err != nil {
		return nil, usage(fmt.Sprintf("--node: %v", err))
	}
	if method != http.MethodGet {
		request.Header.Set("Content-Type", "application/json")
	}
	if n.Token != "" {
		request.Header.Set("Authorization", "Bearer "+n.Token)
	}
	// No proxy and no redirect: the token is for this node alone.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return nil, n.unreachable(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, n.unreachable(err)
	}
	return body, n.refused(answer, body)
}

// read parses a good answer.
func (n *asked) read(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s does not answer like a node: %w", n.Node, err)
	}
	return nil
}

// unreachable says in words why nothing answered.
func (n *asked) unreachable(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing answers at %s: is a node running, and is this its --admin address?", n.Node)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %s", n.Node, askTimeout)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("ask %s: %w", n.Node, err)
}

// refused turns an answer other than 200 into an error.
func (n *asked) refused(answer *http.Response, body []byte) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	var fault struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &fault) != nil || fault.Error.Code == "" {
		return fmt.Errorf("%s answered %s: is this a node's --admin address?", n.Node, answer.Status)
	}
	text := fmt.Sprintf("%s: %s (%s)", n.Node, fault.Error.Message, fault.Error.Code)
	if answer.StatusCode == http.StatusUnauthorized && n.Token == "" {
		text += ": give --token or ROOMRING_ADMIN_TOKEN"
	}
	return errors.New(text)
}

// printable keeps names from the network from moving the cursor of somebody's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u200f' {
			return '?'
		}
		return r
	}, s)
}
