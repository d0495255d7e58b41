package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/settings"
)

// rotating is a node that keeps what it was told, or refuses it.
type rotating struct {
	keys       [][]byte
	full, read string
	api        []string
	refuses    error
}

func (r *rotating) SetKeys(keys [][]byte) error {
	if r.refuses == nil {
		r.keys = keys
	}
	return r.refuses
}

func (r *rotating) SetAdminTokens(full, read string) error {
	if r.refuses == nil {
		r.full, r.read = full, read
	}
	return r.refuses
}

func (r *rotating) SetAPIKeys(keys []string) error {
	if r.refuses == nil {
		r.api = keys
	}
	return r.refuses
}

// Files of keys and tokens are read again; one that is broken, or refused, stays as it is, keeps no other
// back, and is told; and what is told shows no secret.
func TestSecretsAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	old, next := settings.NewKey(), settings.NewKey()
	s := load(t, "--cluster-key-file", put("key", old), "--admin-token-file", put("token", "the-first-full-token"),
		"--admin-read-token=the-only-read-token", "--api-key-file", put("api", "the-first-api-key"))
	n := &rotating{}
	c := &Certificates{secrets: routerSecrets(s, n), fixedKeys: fixedKeys(&s.Node)}
	reload := func() (good, bad []string) {
		t.Helper()
		core, logs := observer.New(zap.DebugLevel)
		c.Reload(zap.New(core))
		for _, e := range logs.All() {
			text := fmt.Sprint(e.Message, e.ContextMap())
			for _, secret := range []string{old, next, "-token", "-api-key"} {
				if strings.Contains(strings.NewReplacer("admin-token-file", "", "admin-read-token-file", "", "api-key-file", "").Replace(text), secret) {
					t.Errorf("a secret is logged: %s", text)
				}
			}
			switch of, _ := e.ContextMap()["of"].(string); e.Message {
			case "secret reloaded":
				good = append(good, of)
			case "secret not reloaded":
				bad = append(bad, of)
			default:
				t.Errorf("it says %s", text)
			}
		}
		return good, bad
	}
	all := []string{"cluster-key-file", "admin-token-file", "api-key-file"}
	put("key", old+"\n"+next)
	put("token", "the-second-full-token\n")
	put("api", "the-first-api-key,the-second-api-key")
	if good, bad := reload(); !slices.Equal(good, all) || bad != nil {
		t.Errorf("reloaded %v, not %v", good, bad)
	}
	if len(n.keys) != 2 || n.full != "the-second-full-token" || n.read != "the-only-read-token" || len(n.api) != 2 {
		t.Errorf("the node has %+v", n)
	}
	put("key", "not a key")
	put("token", "short")
	if good, bad := reload(); !slices.Equal(good, all[2:]) || !slices.Equal(bad, all[:2]) {
		t.Errorf("reloaded %v, not %v", good, bad)
	}
	put("key", next)
	if err := os.Remove(filepath.Join(dir, "api")); err != nil {
		t.Fatal(err)
	}
	n.refuses = errors.New("this would cut it off")
	if good, bad := reload(); good != nil || !slices.Equal(bad, all) {
		t.Errorf("reloaded %v, not %v", good, bad)
	}
	if len(n.keys) != 2 || n.full != "the-second-full-token" || len(n.api) != 2 {
		t.Errorf("the node has %+v", n)
	}
}

// What cannot be read again is not, and the log says why the cluster key is not.
func TestSecretsThatStay(t *testing.T) {
	for why, s := range map[string]*settings.Router{
		"come from --cluster-key": load(t, "--cluster-key="+settings.NewKey(), "--admin-token=the-only-full-token", "--api-key=the-only-api-key"),
		"there is none":           load(t),
	} {
		core, logs := observer.New(zap.DebugLevel)
		c := &Certificates{secrets: routerSecrets(s, &rotating{}), fixedKeys: fixedKeys(&s.Node)}
		c.Reload(zap.New(core))
		if len(c.secrets) != 0 || logs.Len() != 1 || !strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()), why) {
			t.Errorf("%d files; it says %v, want %q", len(c.secrets), logs.All(), why)
		}
	}
	read := load(t, "--cluster-key-file", writeKey(t), "--admin-read-token-file", writeToken(t))
	n := &rotating{}
	c := &Certificates{secrets: commonSecrets(&read.Node, n)}
	if c.Reload(zap.NewNop()); n.full != "" || n.read != "the-only-read-token" || len(n.keys) != 1 {
		t.Errorf("the node has %+v", n)
	}
}

func writeKey(t *testing.T) string   { return writeText(t, settings.NewKey()) }
func writeToken(t *testing.T) string { return writeText(t, "the-only-read-token") }

func writeText(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
