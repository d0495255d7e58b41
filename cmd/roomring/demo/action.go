package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

const (
	// actTimeout bounds an action, the wait for those before it included.
	actTimeout = 5 * time.Second

	// askTimeout bounds a question to a router about the voters.
	askTimeout = 2 * time.Second
)

// Kill ends a shard at once: it hands nothing over, and does not say that it leaves for good, so the others
// have to prove its death, as that of a process (link.Goodbye, rule R9 in package cluster). A *admin.Refusal
// says why not, as with the other actions.
func (c *Cluster) Kill(ctx context.Context, id proto.NodeID) error {
	return c.act(ctx, func(ctx context.Context) error {
		voters, err := c.askVoters(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		r, err := c.mayEnd(id, "killed")
		if err != nil {
			return err
		}
		if !c.majority(voters, r) {
			return refuse("no_majority", "%s is one of %d voters, and without it there would be no majority: nobody could take over. "+
				"Wait a moment until others vote", id, len(voters))
		}
		r.state = Killed
		r.kill()
		return nil
	})
}

// Drain has a shard leave: it hands over what it has, says goodbye and ends. It returns once it has begun.
func (c *Cluster) Drain(ctx context.Context, id proto.NodeID) error {
	return c.act(ctx, func(context.Context) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		r, err := c.mayEnd(id, "drained")
		if err != nil {
			return err
		}
		if r.state == Draining {
			return refuse("draining", "%s is leaving already", id)
		}
		r.state = Draining
		close(r.drain)
		return nil
	})
}

// Restart starts a shard that has ended, with the same id and nothing else of before: it is a new run.
func (c *Cluster) Restart(ctx context.Context, id proto.NodeID) error {
	return c.act(ctx, func(ctx context.Context) error {
		r, err := c.ended(id)
		if err != nil {
			return err
		}
		select {
		case <-r.ended:
		case <-ctx.Done():
			return refuse("busy", "%s has not quite ended yet: try again", id)
		}
		return c.launch(slices.Index(c.shards, r))
	})
}

// Add starts one more shard, and returns its id.
func (c *Cluster) Add(ctx context.Context) (id proto.NodeID, err error) {
	err = c.act(ctx, func(context.Context) error {
		c.mu.Lock()
		place := len(c.shards)
		c.mu.Unlock()
		if place >= MaxShards {
			return tooMany()
		}
		id = shardID(place)
		return c.launch(place)
	})
	return id, err
}

// act carries out one action at a time, so that two of them never agree on what only one may do.
func (c *Cluster) act(ctx context.Context, action func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	select {
	case c.acting <- struct{}{}:
	case <-ctx.Done():
		return refuse("busy", "another action is under way: try again")
	}
	defer func() { <-c.acting }()
	return action(ctx)
}

// launch opens and starts a shard at a place of the list, or behind its end. Only an action calls it.
func (c *Cluster) launch(place int) error {
	if !c.up() {
		return errEnding
	}
	n, err := c.cfg.OpenShard(shardID(place)) // without the mutex: it opens sockets
	if err != nil {
		return &admin.Refusal{Status: http.StatusInternalServerError, Code: "not_started", Message: err.Error()}
	}
	r := newRun(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if place == len(c.shards) {
		c.shards = append(c.shards, nil)
	}
	c.shards[place] = r
	if c.life == nil { // all ends meanwhile; its sockets go with the process
		r.state = Killed
		close(r.ended)
		return errEnding
	}
	c.begin(r, r.drain)
	return nil
}

// up tells whether nodes may be started.
func (c *Cluster) up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life != nil && c.life.Err() == nil
}

// ended returns the last run of a shard that does not live any more.
func (c *Cluster) ended(id proto.NodeID) (*run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.shard(id)
	if err != nil {
		return nil, err
	}
	if r.lives() {
		return nil, refuse("running", "%s is %s: kill or drain it first", id, r.state)
	}
	return r, nil
}

// mayEnd returns a shard without which another one would still be there to serve. c.mu is held, as for all
// below.
func (c *Cluster) mayEnd(id proto.NodeID, how string) (*run, error) {
	r, err := c.shard(id)
	if err != nil {
		return nil, err
	}
	if !r.lives() {
		return nil, refuse("not_running", "%s does not run: there is nothing to be %s", id, how)
	}
	for _, other := range c.shards {
		if other != r && other.state == Running {
			return r, nil
		}
	}
	return nil, refuse("last_shard", "%s is the last shard: without it there would be no rooms. Add or restart another one first", id)
}

func (c *Cluster) shard(id proto.NodeID) (*run, error) {
	for _, r := range c.shards {
		if r.node.Name().ID() == id {
			return r, nil
		}
	}
	return nil, &admin.Refusal{Status: http.StatusNotFound, Code: "unknown_node", Message: fmt.Sprintf("there is no shard %q", string(id))}
}

// majority tells whether more than half of the voters live without r.
func (c *Cluster) majority(voters []proto.NodeName, r *run) bool {
	living := 0
	for _, other := range slices.Concat(c.routers, c.shards) {
		if other != r && other.lives() && slices.Contains(voters, other.node.Name()) {
			living++
		}
	}
	return 2*living > len(voters) || !slices.Contains(voters, r.node.Name())
}

func (c *Cluster) askVoters(ctx context.Context) ([]proto.NodeName, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	voters, err := c.cfg.Voters(ctx)
	if err != nil {
		return nil, &admin.Refusal{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: "no router says who votes: try again"}
	}
	return voters, nil
}

// errEnding refuses what would be started while all ends.
var errEnding = &admin.Refusal{Status: http.StatusServiceUnavailable, Code: "ending", Message: "roomring dev is ending"}

func tooMany() error {
	return refuse("too_many", "%d shards are the most here: restart one that ended", MaxShards)
}

// refuse says why something cannot be done now.
func refuse(code, format string, args ...any) error {
	return &admin.Refusal{Status: http.StatusConflict, Code: code, Message: fmt.Sprintf(format, args...)}
}
