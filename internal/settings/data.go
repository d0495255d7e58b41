package settings

import (
	"errors"
	"os"
)

// checkData makes the directory of --data-dir if it is missing, for this user alone, and tries whether
// it takes files: a node that finds out later has already joined. --print-config makes nothing.
func (s *source) checkData(n *Node) error {
	if n.DataDir == "" || n.PrintConfig {
		return nil
	}
	if err := os.MkdirAll(n.DataDir, 0o700); err != nil {
		return s.failf("data-dir", "%v", err)
	}
	if err := tryWrite(n.DataDir); err != nil {
		return s.failf("data-dir", "%s cannot be written: %v", n.DataDir, err)
	}
	return nil
}

func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, "try-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("a full disk shows here\n")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
