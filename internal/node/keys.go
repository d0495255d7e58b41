package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.uber.org/zap"
)

// What SetKeys refuses, and why. Nodes that follow it never stop understanding
// each other as long as each step is taken on all of them before the next.
var (
	errNoKeyBefore = errors.New("this node was started without a cluster key: only a restart can give it one")
	errNoKey       = errors.New("no cluster key: only a restart can take it away")
	errNewFirst    = errors.New("the first key is new to this node: have every node know it behind the key in use first (OLD,NEW), then put it in front (NEW,OLD)")
	errOldGone     = errors.New("the key in use is missing: put the new one in front of it on every node first (NEW,OLD), then leave it out (NEW)")
)

// SetKeys has this node use other cluster keys, for what is said from now on:
// links that are open stay open. The first encrypts and proves, all decrypt and
// are accepted.
//
// A step that could cut this node off is refused, and the old keys stay: the
// first of the new ones is known to it already, and the first of the old ones is
// kept for now. It may be called from any goroutine.
func (n *Node) SetKeys(keys [][]byte) error {
	n.rotating.Lock()
	defer n.rotating.Unlock()
	old := *n.keys.Load()
	switch {
	case len(old) == 0:
		return errNoKeyBefore
	case len(keys) == 0:
		return errNoKey
	case !has(old, keys[0]):
		return errNewFirst
	case !has(keys, old[0]):
		return errOldGone
	}
	if err := n.mesh.SetKeys(keys); err != nil {
		return err
	}
	if n.gossip != nil {
		if err := n.gossip.SetKeys(keys); err != nil {
			return err
		}
	}
	n.keys.Store(&keys)
	n.log.Info("cluster keys set", zap.String("first", fingerprint(keys[0])), zap.Int("keys", len(keys)), zap.Bool("changed", !slices.EqualFunc(old, keys, bytes.Equal)))
	return nil
}

func has(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// fingerprint names a cluster key for people to compare. It tells nothing of the
// key: that is 32 random bytes, and this 4 of a hash.
func fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("roomring cluster key fingerprint\x00"), key...))
	return hex.EncodeToString(sum[:4])
}

// keysInUse says how many cluster keys there are, and which is the first: "" for none.
func (n *Node) keysInUse() (first string, count int) {
	keys := *n.keys.Load()
	if len(keys) == 0 {
		return "", 0
	}
	return fingerprint(keys[0]), len(keys)
}

// keyLabels are those of the metric about them.
func (n *Node) keyLabels() map[string]string {
	first, count := n.keysInUse()
	return map[string]string{"first": first, "keys": strconv.Itoa(count)}
}

// SetAdminTokens has the admin port take other tokens. A token is not taken away
// from a port that has one. It may be called from any goroutine.
func (n *Node) SetAdminTokens(full, read string) error { return n.admin.SetTokens(full, read) }

// SetAPIKeys has a router take other tokens for publishing over HTTP. It may be
// called from any goroutine.
func (n *Node) SetAPIKeys(keys []string) error {
	r, ok := n.role.(*routerRole)
	if !ok {
		return errors.New("a shard takes no messages over HTTP")
	}
	return r.SetAPIKeys(keys)
}

// settingsNow are the settings with the keys that are in use.
func (n *Node) settingsNow() settings {
	s := maps.Clone(n.settings)
	if first, count := n.keysInUse(); count > 0 {
		s["cluster-key"] = fmt.Sprintf("%d set, %s first", count, first)
	}
	if r, ok := n.role.(*routerRole); ok {
		s["api-key"] = secrets(r.APIKeys())
	}
	return s
}
