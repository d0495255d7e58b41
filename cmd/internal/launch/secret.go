package launch

import (
	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/internal/settings"
)

// secret is a file of keys or tokens that can be read again.
type secret struct {
	of   string       // its flag
	read func() error // has the node use what is in it now
}

// rotated is what takes other keys and tokens: a node.
type rotated interface {
	SetKeys(keys [][]byte) error
	SetAdminTokens(full, read string) error
	SetAPIKeys(keys []string) error
}

var _ rotated = (*node.Node)(nil)

// commonSecrets are the files that every node may have. Its node refuses what would
// cut it off, or leave a port without a token.
func commonSecrets(s *settings.Node, n rotated) (list []secret) {
	if file := s.ClusterKeyFile; file != "" {
		list = append(list, secret{"cluster-key-file", func() error {
			keys, err := settings.ReadKeys(file)
			if err != nil {
				return err
			}
			return n.SetKeys(keys)
		}})
	}
	if s.AdminTokenFile != "" || s.AdminReadTokenFile != "" {
		of := "admin-token-file"
		if s.AdminTokenFile == "" {
			of = "admin-read-token-file"
		}
		list = append(list, secret{of, func() error {
			t, err := s.ReadAdminTokens()
			if err != nil {
				return err
			}
			return n.SetAdminTokens(t.Full, t.Read)
		}})
	}
	return list
}

// routerSecrets are those of a router.
func routerSecrets(s *settings.Router, n rotated) []secret {
	list := commonSecrets(&s.Node, n)
	if file := s.APIKeyFile; file != "" {
		list = append(list, secret{"api-key-file", func() error {
			keys, err := settings.ReadAPIKeys(file)
			if err != nil {
				return err
			}
			return n.SetAPIKeys(keys)
		}})
	}
	return list
}

// fixedKeys says why a node's cluster keys cannot be read again, "" if they can.
func fixedKeys(s *settings.Node) string {
	switch {
	case s.ClusterKeyFile != "":
		return ""
	case len(s.Keys()) > 0:
		return "they come from --cluster-key: only a restart changes them; --cluster-key-file is read again"
	}
	return "there is none: a node that was started without one gets one only by a restart"
}

// reloadSecrets reads the files again. What cannot be read, or used, stays as it is,
// and keeps no other back.
func (c *Certificates) reloadSecrets(log *zap.Logger) {
	for _, s := range c.secrets {
		if err := s.read(); err != nil {
			log.Error("secret not reloaded", zap.String("of", s.of), zap.Error(err))
			continue
		}
		log.Info("secret reloaded", zap.String("of", s.of))
	}
	if c.fixedKeys != "" {
		log.Info("cluster key stays as it is", zap.String("reason", c.fixedKeys))
	}
}
