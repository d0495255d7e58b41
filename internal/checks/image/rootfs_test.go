//go:build linux

package image

import (
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/roomring/roomring/internal/checks"
	"github.com/roomring/roomring/internal/checks/container"
)

// What others rely on, and what they wait.
const (
	user = 65532
	// patience bounds every wait for what takes moments: only a fault reaches it.
	patience = 2 * time.Minute
)

func TestRootfs(t *testing.T) {
	container.Need(t)
	root := Rootfs(t)
	t.Run("tree", func(t *testing.T) { testTree(t, root) })
	t.Run("programs", func(t *testing.T) { testPrograms(t, root) })
	t.Run("authorities", func(t *testing.T) { testAuthorities(t, root) })
	t.Run("defaults", func(t *testing.T) { testDefaults(t, root) })
	t.Run("rights", func(t *testing.T) { testRights(t, root) })
	t.Run("cluster", func(t *testing.T) { testCluster(t, root) })
}

// tree is what there is below a directory: name to kind, mode and owner.
type tree map[string]string

func entry(dir bool, mode fs.FileMode, uid, gid uint32) string {
	return fmt.Sprintf("%s %04o %d:%d", map[bool]string{true: "dir", false: "file"}[dir], mode.Perm(), uid, gid)
}

// made is the tree as the script left it.
func made(root string) (tree, error) {
	all := tree{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&^fs.ModePerm&^fs.ModeDir != 0 {
			return fmt.Errorf("%s: a %s", name, info.Mode())
		}
		stat := info.Sys().(*syscall.Stat_t)
		all["/"+strings.TrimPrefix(strings.TrimPrefix(name, root), "/")] = entry(d.IsDir(), info.Mode(), stat.Uid, stat.Gid)
		return nil
	})
	return all, err
}

// copiedBy is the tree that a Dockerfile's copies make of the script's.
func (d *dockerfile) copiedBy(root string) (tree, error) {
	all := tree{"/": entry(true, 0o755, 0, 0)}
	for _, c := range of[*instructions.CopyCommand](d.image) {
		mode, err := strconv.ParseUint(c.Chmod, 8, 32)
		var uid, gid uint32
		if _, err := fmt.Sscanf(c.Chown, "%d:%d", &uid, &gid); err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		from := filepath.Join(root, strings.TrimPrefix(c.SourcePaths[0], "/image"))
		err = filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := path.Join(c.DestPath, strings.TrimPrefix(name, from))
			all[to] = entry(e.IsDir(), fs.FileMode(mode), uid, gid)
			for dir := path.Dir(to); ; dir = path.Dir(dir) { // what is missing above is root's
				if _, known := all[dir]; known {
					return nil
				}
				all[dir] = entry(true, 0o755, 0, 0)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// same is nil when the Dockerfile's image is what the script made.
func same(dockerfile, root string) error {
	d, err := readDockerfile(dockerfile)
	if err != nil {
		return err
	}
	image, err := d.copiedBy(root)
	if err != nil {
		return err
	}
	script, err := made(root)
	if err != nil {
		return err
	}
	if maps.Equal(image, script) {
		return nil
	}
	return fmt.Errorf("the Dockerfile makes\n%v\nand the script\n%v", image, script)
}

// testTree holds the script against the Dockerfile, and both against what others rely on.
func testTree(t *testing.T, root string) {
	dockerfile := filepath.Join(checks.Root(t), "deploy/image/Dockerfile")
	if err := same(dockerfile, root); err != nil {
		t.Error(err)
	}
	script, err := made(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/usr/local/bin/roomring": "file 0755 0:0", "/usr/local/bin/roomring-router": "file 0755 0:0", "/usr/local/bin/roomring-shard": "file 0755 0:0",
		"/etc/ssl/certs/ca-certificates.crt": "file 0644 0:0",
		"/data":                              "dir 0700 65532:65532", "/etc/roomring": "dir 0700 65532:65532",
	} {
		if script[name] != want {
			t.Errorf("%s: %s, want %s", name, script[name], want)
		}
	}
	for _, test := range []struct{ old, broken string }{
		{"--chmod=0755", "--chmod=0777"},
		{"--chown=65532:65532 --chmod=0700 /image/data/", "--chown=0:0 --chmod=0700 /image/data/"},
		{"COPY --from=build --chown=0:0 --chmod=0644", "# COPY --from=build --chown=0:0 --chmod=0644"},
		{"/image/usr/local/bin/ /usr/local/bin/", "/image/usr/local/bin/ /bin/"},
		{"/image/data/ /data/", "/image/state/ /state/"},
	} {
		name := filepath.Join(checks.Copy(t, "deploy/image"), "Dockerfile")
		checks.Broken(t, name, test.old, test.broken)
		if same(name, root) == nil {
			t.Errorf("%q for %q makes the same image", test.broken, test.old)
		}
	}
}

// testPrograms: what is run on scratch brings everything along.
func testPrograms(t *testing.T, root string) {
	for _, name := range []string{"roomring", "roomring-router", "roomring-shard"} {
		f, err := elf.Open(filepath.Join(root, "usr/local/bin", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is not static: it has %s", name, p.Type)
			}
		}
		code, out := inside(root, name, "--version").Run(t, patience)
		if code != 0 || !strings.Contains(out, name+" "+Version) {
			t.Errorf("%s --version: code %d, %s", name, code, out)
		}
	}
}

// inside is a program in the image, as an engine runs it that was told nothing.
func inside(root string, args ...string) container.Spec {
	return container.Spec{Root: root, ReadOnly: true, UID: user, GID: user, Env: []string{"PATH=/usr/local/bin"}, Args: args}
}

func testAuthorities(t *testing.T, root string) {
	text, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil {
		t.Fatal(err)
	}
	authorities := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Errorf("authority %d: %v", authorities, err)
		} else if !c.IsCA {
			t.Errorf("%s is no authority", c.Subject)
		}
		authorities++
	}
	if authorities < 50 {
		t.Errorf("only %d authorities", authorities)
	}
}

// testDefaults runs what the Dockerfile says that a container runs which is told nothing.
func testDefaults(t *testing.T, root string) {
	d, err := readDockerfile(filepath.Join(checks.Root(t), "deploy/image/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := last[*instructions.CmdCommand](d.image)
	check, missing := last[*instructions.HealthCheckCommand](d.image)
	if err := errors.Join(err, missing); err != nil {
		t.Fatal(err)
	}
	if code, out := inside(root, cmd.CmdLine...).Run(t, patience); code != 0 || !strings.Contains(out, "Usage: roomring COMMAND") {
		t.Errorf("%q: code %d, %s", cmd.CmdLine, code, out)
	}
	if code, out := inside(root, check.Health.Test[1:]...).Run(t, patience); code != 1 || !strings.Contains(out, "nothing answers") {
		t.Errorf("%q where nothing runs: code %d, %s", check.Health.Test, code, out)
	}
}

// testRights: a node has none, and cannot write its image.
func testRights(t *testing.T, root string) {
	shard := inside(root, "roomring-shard").Start(t)
	status := ""
	eventually(t, shard, "it is the program", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", shard.PID()))
		status = string(text)
		return err == nil && strings.HasPrefix(status, "Name:\troomring-shard\n")
	})
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "Groups:\t", "NoNewPrivs:\t1",
		"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(status, want) {
			t.Errorf("not %q:\n%s", want, status)
		}
	}
	if code, out := inside(root, "roomring", "key", "--out", "/etc/roomring/key").Run(t, patience); code != 1 || !strings.Contains(out, "read-only file system") {
		t.Errorf("it writes its image: code %d, %s", code, out)
	}
	volume := inside(root, "roomring", "key", "--out", "/etc/roomring/key")
	volume.Mounts = []container.Mount{{Target: "/etc/roomring", Options: "uid=65532,gid=65532,mode=0700"}}
	if code, out := volume.Run(t, patience); code != 0 {
		t.Errorf("it does not write a volume: code %d, %s", code, out)
	}
}

// testCluster: a shard and a router find each other, are ready, are asked, and end when they are told to.
func testCluster(t *testing.T, root string) {
	network := container.NewNetwork(t)
	here := func(args ...string) container.Spec {
		s := inside(root, args...)
		s.Network = network
		return s
	}
	data := t.TempDir()
	if err := errors.Join(os.Chown(data, user, user), os.Chmod(filepath.Dir(data), 0o755)); err != nil {
		t.Fatal(err)
	}
	shardSpec := here("roomring-shard", "--id=s1", "--data-dir=/data")
	shardSpec.Mounts = []container.Mount{{Target: "/data", Source: data}}
	shard := shardSpec.Start(t)
	router := here("roomring-router", "--id=r1", "--join=127.0.0.1:7401").Start(t)
	asked := func(code int, want string, args ...string) {
		t.Helper()
		if got, out := here(append([]string{"roomring", "health"}, args...)...).Run(t, patience); got != code || !strings.Contains(out, want) {
			t.Errorf("health %v: code %d, %s\nwant %d, %s\nshard: %s\nrouter: %s", args, got, out, code, want, shard.Output(), router.Output())
		}
	}
	for _, node := range []string{"127.0.0.1:7402", "127.0.0.1:8001"} {
		asked(0, node+" is ready", "--ready", "--wait=90s", "--node", node)
	}
	asked(0, "127.0.0.1:8001 is healthy")
	router.Signal(syscall.SIGTERM)
	if code := router.Exit(t, patience); code != 0 {
		t.Errorf("the router ends with %d: %s", code, router.Output())
	}
	asked(0, "127.0.0.1:7402 is healthy") // the shard is what is there now
	shard.Signal(syscall.SIGTERM)
	if code := shard.Exit(t, patience); code != 0 {
		t.Errorf("the shard ends with %d: %s", code, shard.Output())
	}
	asked(1, "nothing answers")
	if files, err := os.ReadDir(data); err != nil || len(files) == 0 {
		t.Errorf("the shard has kept nothing: %v", err)
	}
}

// eventually waits until f reports true; it is for what tells nobody when it happens.
func eventually(t *testing.T, p *container.Process, what string, f func() bool) {
	t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-again.C:
			if p.Ended() {
				t.Fatalf("it has ended: %s", p.Output())
			}
		}
	}
}
