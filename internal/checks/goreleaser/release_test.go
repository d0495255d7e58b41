//go:build linux

package goreleaser

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

var require = flag.Bool("require", false, "fail where a program is not installed")

// TestRelease makes a release for this machine out of two clones at different places, and looks at what
// is in it.
func TestRelease(t *testing.T) {
	commit := strings.TrimSpace(run(t, root, "git", "rev-parse", "HEAD"))
	first, second := release(t, commit), release(t, commit)
	sums := read(t, first, "checksums.txt")
	if again := read(t, second, "checksums.txt"); sums != again {
		t.Errorf("the same commit gives other files:\n%s\n%s", sums, again)
	}
	files := map[string]bool{}
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		files[name] = true
		if has := sha256.Sum256([]byte(read(t, first, name))); hex.EncodeToString(has[:]) != sum {
			t.Errorf("%s has another sum", name)
		}
	}
	for _, want := range []string{`^roomring_1\.2\.3_linux_` + runtime.GOARCH + `\.tar\.gz$`, `\.deb$`, `\.rpm$`,
		`^roomring_.*\.cdx\.json$`, `^roomring-router_.*\.cdx\.json$`, `^roomring-shard_.*\.cdx\.json$`} {
		if find(files, want) == "" {
			t.Errorf("no %s in %v", want, files)
		}
	}
	if t.Failed() {
		return
	}
	t.Run("archive", func(t *testing.T) { archive(t, first, find(files, `\.tar\.gz$`)) })
	t.Run("deb", func(t *testing.T) { deb(t, first, find(files, `\.deb$`)) })
	t.Run("installed", func(t *testing.T) { installed(t, filepath.Join(first, find(files, `\.deb$`))) })
	for _, program := range []string{"roomring", "roomring-router", "roomring-shard"} {
		t.Run(program, func(t *testing.T) { bill(t, first, find(files, `^`+program+`_.*\.cdx\.json$`), program) })
	}
}

// release makes one, as the workflow does, of a clone with a tag, and returns where its files are. It asks
// nobody for anything. Of programs that are built at a time, the order in archives would be chance.
func release(t *testing.T, commit string) (dist string) {
	t.Helper()
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, ".", "git", "clone", "--quiet", root, clone)
	run(t, clone, "git", "checkout", "--quiet", "--detach", commit)
	run(t, clone, "git", "remote", "set-url", "origin", "https://github.com/roomring/roomring.git")
	text := config(t) // as it is here: it may not be committed yet
	for old, alone := range map[string]string{"goos: [linux, darwin, windows]": "goos: [linux]", "goarch: [amd64, arm64]": "goarch: [" + runtime.GOARCH + "]"} {
		if !strings.Contains(text, old) {
			t.Fatalf("there is no %q", old)
		}
		text = strings.ReplaceAll(text, old, alone)
	}
	if err := os.WriteFile(filepath.Join(clone, ".goreleaser.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	const when = "2026-11-22T12:00:00Z" // the same commit in every clone
	t.Setenv("GIT_AUTHOR_DATE", when)
	t.Setenv("GIT_COMMITTER_DATE", when)
	run(t, clone, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--all", "--message", "For this machine alone")
	run(t, clone, "git", "tag", "v1.2.3")
	if said, err := goreleaser(t, clone, "release", "--clean", "--skip=publish,announce,sign", "--parallelism=1"); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return filepath.Join(clone, "dist")
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil && !*require {
		t.Skip(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func find(files map[string]bool, pattern string) string {
	for name := range files {
		if regexp.MustCompile(pattern).MatchString(name) {
			return name
		}
	}
	return ""
}

var version = regexp.MustCompile(`^(\S+) v1\.2\.3 \(commit [0-9a-f]{12}, 2026-11-22T12:00:00Z, go\S+, linux/` + runtime.GOARCH + `\)\n$`)

// stamped checks what programs say of themselves, and that they need nothing of the system.
func stamped(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"roomring", "roomring-router", "roomring-shard"} {
		said := run(t, dir, filepath.Join(dir, name), "--version")
		if m := version.FindStringSubmatch(said); m == nil || m[1] != name {
			t.Errorf("%s --version: %q", name, said)
		}
		built := run(t, dir, "go", "version", "-m", name)
		for _, want := range []string{"CGO_ENABLED=0", "-trimpath=true"} {
			if !strings.Contains(built, want) {
				t.Errorf("%s is built without %s", name, want)
			}
		}
	}
}

func archive(t *testing.T, dist, name string) {
	to := t.TempDir()
	run(t, to, "tar", "--extract", "--strip-components=1", "--file", filepath.Join(dist, name))
	stamped(t, to)
	for _, file := range []string{"LICENSE", "README.md", "CHANGELOG.md", "systemd/roomring-shard.service", "systemd/router.yaml"} {
		read(t, to, file)
	}
}

func deb(t *testing.T, dist, name string) {
	to := t.TempDir()
	file := filepath.Join(dist, name)
	run(t, to, "dpkg-deb", "--raw-extract", file, to)
	stamped(t, filepath.Join(to, "usr/bin"))
	for _, file := range []string{"usr/lib/systemd/system/roomring-shard.service", "usr/lib/systemd/system/roomring-router.service",
		"usr/lib/sysusers.d/roomring.conf", "usr/lib/tmpfiles.d/roomring.conf", "usr/share/doc/roomring/copyright"} {
		read(t, to, file)
	}
	if files := read(t, to, "DEBIAN/conffiles"); files != "/etc/roomring/router.yaml\n/etc/roomring/shard.yaml\n" {
		t.Errorf("an update overwrites all but %q", files)
	}
	listed := run(t, to, "dpkg-deb", "--contents", file)
	for line := range strings.Lines(listed) {
		if !strings.Contains(line, " root/root ") || strings.Contains(line, "etc/roomring/") && strings.HasSuffix(line, ".yaml\n") && !strings.HasPrefix(line, "-rw-r----- ") {
			t.Errorf("owner or mode: %s", line)
		}
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, to, "sh", "-n", "DEBIAN/"+script)
	}
}

// installed installs the package on this machine, as it is in a namespace that ends with that.
func installed(t *testing.T, file string) {
	if os.Getuid() != 0 {
		t.Skip("only root installs packages")
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v %s", err, out)
	}
	for _, program := range []string{"dpkg", "systemd-sysusers", "setpriv"} {
		run(t, ".", program, "--version")
	}
	if said := run(t, ".", "unshare", "--mount", "sh", "testdata/install.sh", file); !strings.HasSuffix(said, "installed, updated and removed\n") {
		t.Error(said)
	}
}

// bill reads a bill of materials as scanners do, and holds it against what Go tells of the program.
func bill(t *testing.T, dist, name, program string) {
	f, err := os.Open(filepath.Join(dist, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cyclonedx.SpecVersion1_6 || bom.Metadata.Component.Name != program {
		t.Errorf("%v of %+v", bom.SpecVersion, bom.Metadata.Component)
	}
	listed := map[string]string{}
	for _, c := range *bom.Components {
		listed[c.Name] = c.Version
	}
	matches, err := filepath.Glob(filepath.Join(dist, program+"_linux_*", program))
	if err != nil || len(matches) != 1 {
		t.Fatal(matches, err)
	}
	modules := 0
	for line := range strings.Lines(run(t, dist, "go", "version", "-m", matches[0])) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "dep" {
			if modules++; listed[words[1]] != words[2] {
				t.Errorf("%s %s is listed as %q", words[1], words[2], listed[words[1]])
			}
		}
	}
	if modules < 10 || len(listed) != modules+1 || listed["std"] != strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("%d modules, listed are %v", modules, listed)
	}
}
