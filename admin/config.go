package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Source answers the questions that the port is asked. Its methods are called
// from many goroutines at once.
type Source interface {
	// Ring is the document of /v1/ring; it is rendered as JSON and not kept.
	// Without withTable it has no table rows.
	Ring(withTable bool) any

	// Room tells what is known of a room; name has passed proto.CheckRoom.
	// A *proto.Error says why not: NotFound is a room that does not exist,
	// Unavailable an owner that did not answer in time. ctx ends when the
	// asker is gone, after RoomTimeout, or when the server stops.
	Room(ctx context.Context, name string) (RoomDocument, error)

	// Nodes tells what is known of every node. One that gives no answer in time
	// is told of without its own figures. ctx ends like Room's.
	Nodes(ctx context.Context) NodesDocument

	// Rooms lists rooms, merged from all owners. The query has been checked. An
	// error is for the whole: owners that are silent are named in the answer.
	// ctx ends like Room's.
	Rooms(ctx context.Context, q RoomsQuery) (RoomsDocument, error)

	// Plan says what a change would move. The query has been checked, but for
	// whether the node exists and is one that can be removed: a *Refusal
	// (UnknownNode and others) says that. ctx ends like Room's. A plan for many
	// shards takes a processor for seconds, so a Source makes one at a time.
	Plan(ctx context.Context, q PlanQuery) (PlanDocument, error)

	// Drain has a node leave as SIGTERM would. node is an id or the name of a
	// run, "" the node itself; its form has been checked. It returns once the
	// node has begun. A *Refusal says why not: UnknownNode, NotAlive. ctx ends
	// like Room's.
	Drain(ctx context.Context, node string) (DrainDocument, error)

	// Watch tells the events of /v1/events until ctx ends or tell fails. tell
	// blocks while the reader is slow; what it was given may be used again when
	// it returns. With onlyFeed there are no others than EventFeed and
	// EventLost, and nobody is asked for figures. An error before the first
	// event becomes the answer's status, a later one an EventError.
	Watch(ctx context.Context, onlyFeed bool, tell func(Event) error) error

	// Tail tells the events of /v1/tail likewise. The query has been checked. A
	// *proto.Error says why it cannot begin, as with Room.
	Tail(ctx context.Context, q TailQuery, tell func(Event) error) error

	// Forget has the cluster take an operator's word that a run of a node is
	// dead for good. node is the name of a run, or an id, which stands for the
	// run of that id that does not live; its form has been checked. When it
	// returns without an error, the Table says so. A *Refusal says why not:
	// UnknownNode, AliveNode, AmbiguousNode, NoMajority. ctx ends like Room's,
	// but after ChangeTimeout: the change may then still take effect.
	Forget(ctx context.Context, node string) (ForgetDocument, error)

	// Recover founds the cluster anew, in its next generation, from the Tables
	// of all nodes that can be reached; it returns once it is founded. A
	// *Refusal says why not: HasMajority, NoTable. ctx is like Forget's.
	Recover(ctx context.Context) (RecoverDocument, error)

	// Ready says whether the node should get work, with reasons of one word
	// each (ReasonNoMajority and the like). A ready node may have reasons
	// too: they are warnings.
	Ready() (ok bool, reasons []string)

	// Health says whether the process is worth keeping; reason is for people
	// and empty when it is.
	Health() (ok bool, reason string)
}

// Config is what a Server needs. Only Source must be given.
type Config struct {
	// Listen is the address that the listener is made from, host:port. On a
	// loopback address requests must name it by an address or as localhost.
	// If empty, a loopback address.
	Listen string

	// Token is the bearer token that allows everything (--admin-token).
	// If empty, and ReadToken too, everybody who reaches the port may ask
	// everything, so the address must be a loopback one.
	Token string

	// ReadToken is the bearer token that allows GET and HEAD, but no profiles
	// (--admin-read-token). If empty, there is none.
	ReadToken string

	// Source answers.
	Source Source

	// Settled feeds roomring_settled and roomring_single_copy_partitions.
	// If nil, the two are left out.
	Settled func() (settled bool, singleCopy int)

	// Registry is what /metrics shows. New adds the collectors of the Go
	// runtime and of the process to it. If nil, a new one.
	Registry *prometheus.Registry

	// Logger gets what is wrong with the server. If nil, nobody.
	Logger *zap.Logger
}

// CheckConfig refuses what would be unsafe or could not work, and names the
// flag that mends it.
func CheckConfig(c Config) error {
	if err := checkToken("--admin-token", c.Token); err != nil {
		return err
	}
	if err := checkToken("--admin-read-token", c.ReadToken); err != nil {
		return err
	}
	if c.Token != "" && c.Token == c.ReadToken {
		return errors.New("--admin-token and --admin-read-token are the same: a reader could do everything")
	}
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--admin %s: want host:port: %w", c.Listen, err)
	}
	if !loopback(host) && !c.guarded() {
		return openError("--admin " + c.Listen)
	}
	return nil
}

// openError is said to who would let the whole network in.
func openError(what string) error {
	return fmt.Errorf("%s is not a loopback address: set --admin-token or --admin-read-token", what)
}

// guarded reports whether a token is needed.
func (c *Config) guarded() bool { return c.Token != "" || c.ReadToken != "" }

// checkToken refuses a token that no Authorization header could carry.
func checkToken(flag, token string) error {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return fmt.Errorf("%s: only visible ascii characters are allowed", flag)
		}
	}
	return nil
}

// loopback reports whether only this machine reaches host. A name other than
// localhost is not looked up: what it stands for may change.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
