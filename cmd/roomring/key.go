package main

import (
	"fmt"

	"github.com/roomring/roomring/internal/settings"
)

type keyCommand struct{}

func (keyCommand) Help() string {
	return `32 random bytes in base64, for --cluster-key-file, --cluster-key or --admin-token:
  roomring key > cluster.key && chmod 600 cluster.key
  roomring-shard --cluster-key-file cluster.key
To change the key of a running cluster, restart its nodes one by one, first with OLD,NEW, then with
NEW,OLD, then with NEW: the first key encrypts, all decrypt.`
}

// Run prints a new key.
func (keyCommand) Run(w *world) error {
	_, err := fmt.Fprintln(w.stdout, settings.NewKey())
	return err
}
