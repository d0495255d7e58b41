package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/roomring/roomring/internal/settings"
)

type keyCommand struct {
	Out []string `name:"out" sep:"none" placeholder:"FILE" help:"Write the key to a file that only this user can read, and keep one that is there. Can be given several times, for a key each."`
}

func (keyCommand) Help() string {
	return `32 random bytes in base64, for --cluster-key-file, --cluster-key, --admin-token or --admin-token-file:

  roomring key
  roomring key --out cluster.key
  roomring key --out /etc/roomring/cluster.key --out /etc/roomring/admin.token
  roomring-shard --cluster-key-file cluster.key

With --out, what is there already stays, so it can be run at every start. A missing directory is made, for this user
alone.
To change the key of a running cluster, restart nothing: write OLD,NEW into the --cluster-key-file of every node and
send each a SIGHUP; once all have it, NEW,OLD everywhere; then NEW. The first key encrypts, all decrypt. A node refuses
a step that would cut it off. How far each is: roomring_cluster_key_info in /metrics, and roomring doctor.
Nodes with --cluster-key take the same three steps by restarts.`
}

// Run prints a new key, or writes one to each file that is missing.
func (c *keyCommand) Run(w *world) error {
	if len(c.Out) == 0 {
		_, err := fmt.Fprintln(w.stdout, settings.NewKey())
		return err
	}
	for _, name := range c.Out {
		did, err := keepKey(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w.stdout, "%s: %s\n", name, did)
	}
	return nil
}

// keepKey makes sure that the file holds a key, and says how.
func keepKey(name string) (did string, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", err
	}
	// Only who makes the file writes it: of two at a time, the other keeps that key.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "kept, it holds a key", checkKey(name)
	}
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(f, settings.NewKey())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(name)) // half a key is none
	}
	return "a new key", nil
}

// checkKey has a node's own reader judge a file of keys.
func checkKey(name string) error {
	const flag = "--cluster-key-file"
	_, err := settings.LoadShard(settings.Program{}, []string{"--print-config", flag + "=" + name})
	if errors.Is(err, settings.ErrDone) {
		return nil
	}
	// A file that is wrong is no wrong use of this command, whatever it is for a node.
	return fmt.Errorf("%s; the file is left as it is", strings.TrimPrefix(err.Error(), flag+": "))
}
