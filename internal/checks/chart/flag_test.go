package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/checks"
)

// programs builds the three and returns their directory.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "./cmd/roomring", "./cmd/roomring-router", "./cmd/roomring-shard")
	build.Dir, build.Env = checks.Root(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestFlags: the programs take what the pods tell them, whatever the values and the family of addresses, and
// it takes effect.
func TestFlags(t *testing.T) {
	dir, files := programs(t), t.TempDir()
	for name, text := range map[string]string{
		"cluster-key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n", "api-keys": "0123456789abcdef\n",
		"admin-token": "0123456789abcdef\n", "admin-read-token": "fedcba9876543210\n", "tls.crt": "", "tls.key": "", "ca.crt": "",
	} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, values := range examples(t) {
		rendered, err := render(t, install{values: values})
		if err != nil {
			t.Fatal(err)
		}
		o, err := decode(documents(rendered))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range o.workloads() {
			for _, ip := range []string{"10.1.2.3", "fd00::1:2"} {
				if err := w.takes(dir, files, ip); err != nil {
					t.Errorf("%s: %s with %s: %v", name, w.name, ip, err)
				}
			}
		}
		for _, p := range o.Pods { // verify has no --print-config; a command that is wrong is code 2
			args := append(slices.Clone(p.Spec.Containers[0].Args), "--help")
			if out, err := exec.Command(filepath.Join(dir, p.Spec.Containers[0].Command[0]), args...).CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", name, p.Name, err, out)
			}
		}
	}
}

// takes asks the program itself, with files that stand in for those of Secrets.
func (w *workload) takes(programs, files, ip string) error {
	c := &w.pod.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom == nil:
			env[e.Name] = local(files, e.Value)
		case e.ValueFrom.FieldRef.FieldPath == "metadata.name":
			env[e.Name] = w.name + "-0"
		case e.ValueFrom.FieldRef.FieldPath == "status.podIP":
			env[e.Name] = ip
		default:
			env[e.Name] = "eu-west-1a"
		}
	}
	var args []string
	for _, arg := range c.Args {
		name, value, _ := strings.Cut(arg, "=")
		if value != "" {
			name += "="
		}
		args = append(args, name+expand(local(files, value), env))
	}
	cmd := exec.Command(filepath.Join(programs, c.Command[0]), append(args, "--print-config")...)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for _, want := range []string{"$(", "<no value>"} {
		if strings.Contains(string(out), want) {
			return fmt.Errorf("%q in its settings: %s", want, out)
		}
	}
	return nil
}

// local is the stand-in for a file of a Secret.
func local(files, path string) string {
	if strings.HasPrefix(path, "/etc/") {
		return filepath.Join(files, filepath.Base(path))
	}
	return path
}

var reference = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\)`)

// expand replaces $(NAME) as Kubernetes does: what is not set stays as it is.
func expand(text string, env map[string]string) string {
	return reference.ReplaceAllStringFunc(text, func(ref string) string {
		if value, set := env[ref[2:len(ref)-1]]; set {
			return value
		}
		return ref
	})
}
