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
	"syscall"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/settings"
)

// asked is how a command finds a node's admin port.
type asked struct {
	Node      string `name:"node" placeholder:"HOST:PORT" default:"127.0.0.1:8001" help:"Admin address of any node of the cluster."`
	Token     string `name:"token" placeholder:"TOKEN" env:"ROOMRING_ADMIN_TOKEN" help:"Its --admin-token or --admin-read-token; better in ROOMRING_ADMIN_TOKEN, or in a file."`
	TokenFile string `name:"token-file" placeholder:"FILE" help:"File with that token; without a flag and ROOMRING_ADMIN_TOKEN, the one that ROOMRING_ADMIN_TOKEN_FILE names."`
	JSON      bool   `name:"json" help:"Print the node's answer as it is."`
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
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := n.open(ctx, method, target, text)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, n.unreachable(err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%s does not answer like a node: more than %d MiB", n.Node, maxAnswer>>20)
	}
	return body, n.refused(answer, body)
}

// open sends a request and returns when the head of its answer is there.
func (n *asked) open(ctx context.Context, method string, target url.URL, text []byte) (*http.Response, error) {
	host, _, err := net.SplitHostPort(n.Node)
	if err != nil || host == "" {
		return nil, usage(fmt.Sprintf("--node: %q is not HOST:PORT", n.Node))
	}
	target.Scheme, target.Host = "http", n.Node
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(text))
	if err != nil {
		return nil, usage(fmt.Sprintf("--node: %v", err))
	}
	if method != http.MethodGet {
		request.Header.Set("Content-Type", "application/json")
	}
	token, err := n.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// No proxy and no redirect: the token is for this node alone.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: askTimeout,
		DialContext: (&net.Dialer{Timeout: askTimeout}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return nil, n.unreachable(err)
	}
	return answer, nil
}

// tokenFileVariable is the variable by which a node finds its --admin-token-file: who may look into its
// environment, as inside its container, need not be told the token again.
const tokenFileVariable = "ROOMRING_ADMIN_TOKEN_FILE"

// token finds the token, "" if there is none. What the command line says goes before the environment,
// as far as that can be told: kong has put ROOMRING_ADMIN_TOKEN into Token.
func (n *asked) token() (string, error) {
	file, from := n.TokenFile, "--token-file"
	if file == "" && n.Token == "" {
		file, from = os.Getenv(tokenFileVariable), tokenFileVariable
	}
	if file == "" {
		return n.Token, nil
	}
	token, err := settings.ReadToken(file)
	if err != nil {
		return "", usage(fmt.Sprintf("%s: %v", from, err))
	}
	return token, nil
}

// read parses a good answer.
func (n *asked) read(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s does not answer like a node: %w", n.Node, err)
	}
	return nil
}

// awayError says that no answer came, or not all of it. The next question may be answered.
type awayError struct{ text string }

func (e *awayError) Error() string { return e.text }

// unreachable says in words why nothing answered.
func (n *asked) unreachable(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &awayError{fmt.Sprintf("nothing answers at %s: is a node running, and is this its --admin address?", n.Node)}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return &awayError{fmt.Sprintf("%s gave no answer within %s", n.Node, askTimeout)}
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return &awayError{fmt.Sprintf("ask %s: %v", n.Node, err)}
}

// refused turns an answer other than 200 and 202 into an error.
func (n *asked) refused(answer *http.Response, body []byte) error {
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusAccepted {
		return nil
	}
	var fault struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &fault) != nil || fault.Error.Code == "" {
		return fmt.Errorf("%s answered %s: is this a node's --admin address?", n.Node, printable(answer.Status))
	}
	text := fmt.Sprintf("%s: %s (%s)", n.Node, printable(fault.Error.Message), printable(fault.Error.Code))
	if answer.StatusCode == http.StatusUnauthorized && answer.Request.Header.Get("Authorization") == "" {
		text += ": give --token, --token-file, ROOMRING_ADMIN_TOKEN or " + tokenFileVariable
	}
	return errors.New(text)
}
