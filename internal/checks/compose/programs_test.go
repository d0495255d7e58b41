package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/roomring/roomring/internal/checks"
)

// programDir is where our programs are, once somebody needed them.
var programDir string

var build = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "roomring-compose-")
	if err != nil {
		return err
	}
	programDir = dir
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir, "./cmd/...")
	cmd.Dir = rootDir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
})

// rootDir is the repository's; tests set it before they build.
var rootDir string

// outside says where on this machine a path of a container is. Volumes are directories of the test.
func (p *project) outside(s types.ServiceConfig, path string) string {
	for _, v := range s.Volumes {
		below, ok := strings.CutPrefix(path, v.Target)
		if !ok || below != "" && below[0] != '/' {
			continue
		}
		if v.Type == types.VolumeTypeVolume {
			return filepath.Join(p.volumes, v.Source) + below
		}
		return v.Source + below
	}
	return path
}

// run runs a service's command on this machine, and returns what it says.
func (p *project) run(t *testing.T, s types.ServiceConfig, more ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	words := append(append([]string{}, s.Command...), more...)
	for i, word := range words {
		flag, value, ok := strings.Cut(word, "=")
		if ok {
			words[i] = flag + "=" + p.outside(s, value)
		} else {
			words[i] = p.outside(s, word)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(programDir, words[0]), words[1:]...)
	cmd.Env = []string{}
	for name, value := range s.Environment {
		if value != nil {
			cmd.Env = append(cmd.Env, name+"="+p.outside(s, *value))
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", s.Name, err, out)
	}
	return string(out), nil
}

// judgePrograms has what is made once made, and asks each node's program what it makes of its settings.
func (p *project) judgePrograms(t *testing.T) error {
	t.Helper()
	rootDir = checks.Root(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	p.volumes = t.TempDir()
	for name := range p.Volumes {
		if err := os.Mkdir(filepath.Join(p.volumes, name), 0o700); err != nil {
			return err
		}
	}
	for _, s := range p.sorted(ours) {
		if once(s) {
			if _, err := p.run(t, s); err != nil {
				return err
			}
		}
	}
	var broken []error
	for name := range p.nodes() {
		broken = append(broken, p.judgeNode(t, p.Services[name]))
	}
	return errors.Join(broken...)
}

var drainTime = regexp.MustCompile(`(?m)^drain-time: (\S+)`)

func (p *project) judgeNode(t *testing.T, s types.ServiceConfig) error {
	settings, err := p.run(t, s, "--print-config")
	if err != nil {
		return err
	}
	for name, value := range s.Environment {
		if strings.HasPrefix(name, "ROOMRING_") && value != nil && *value != "" && !strings.Contains(settings, "# "+name+"\n") {
			return fmt.Errorf("%s: %s is not heard", s.Name, name)
		}
	}
	found := drainTime.FindStringSubmatch(settings)
	if found == nil {
		return fmt.Errorf("%s: no drain-time in %s", s.Name, settings)
	}
	drain, err := time.ParseDuration(found[1])
	if err != nil {
		return err
	}
	if grace := time.Duration(*s.StopGracePeriod); grace < drain+10*time.Second {
		return fmt.Errorf("%s: drains for up to %s, and is killed after %s", s.Name, drain, grace)
	}
	return nil
}
