package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/roomring/roomring/internal/checks"
)

// dockerfile is a Dockerfile of two stages as BuildKit reads it.
type dockerfile struct {
	build, image instructions.Stage
}

// of are a stage's commands of one kind.
func of[C instructions.Command](s instructions.Stage) (list []C) {
	for _, c := range s.Commands {
		if c, ok := c.(C); ok {
			list = append(list, c)
		}
	}
	return list
}

// last is the command of a kind that holds.
func last[C instructions.Command](s instructions.Stage) (c C, err error) {
	list := of[C](s)
	if len(list) == 0 {
		return c, fmt.Errorf("no %T in the stage from %s", c, s.BaseName)
	}
	return list[len(list)-1], nil
}

// readDockerfile parses a Dockerfile; what BuildKit would warn of is an error.
func readDockerfile(name string) (*dockerfile, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var warnings []error
	for _, w := range tree.Warnings {
		warnings = append(warnings, errors.New(w.Short))
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, text string, _ []parser.Range) {
		warnings = append(warnings, fmt.Errorf("%s: %s", rule, text))
	}})
	stages, _, err := instructions.Parse(tree.AST, lint)
	if err := errors.Join(append(warnings, err)...); err != nil {
		return nil, err
	}
	if len(stages) != 2 {
		return nil, fmt.Errorf("%d stages, want one that builds and one that is the image", len(stages))
	}
	return &dockerfile{stages[0], stages[1]}, nil
}

// judge holds a Dockerfile against what the image is to be; goVersion is that of go.mod, such as 1.26.
func (d *dockerfile) judge(goVersion string) error {
	var broken []error
	for _, rule := range []func() error{
		func() error { return d.judgeBuild(goVersion) },
		d.judgeBase,
		d.judgeUser,
		d.judgeHealth,
		d.judgeCommand,
		d.judgeLabels,
		d.judgeCopies,
	} {
		broken = append(broken, rule())
	}
	return errors.Join(broken...)
}

func (d *dockerfile) judgeBuild(goVersion string) error {
	if !regexp.MustCompile(`^golang:` + regexp.QuoteMeta(goVersion) + `\.\d+-\w+$`).MatchString(d.build.BaseName) {
		return fmt.Errorf("built by %s, and go.mod wants a release of Go %s", d.build.BaseName, goVersion)
	}
	if d.build.Platform != "$BUILDPLATFORM" {
		return fmt.Errorf("the compiler is one for %q: it would be emulated", d.build.Platform)
	}
	run, err := last[*instructions.RunCommand](d.build)
	if err != nil {
		return err
	}
	line := strings.Join(run.CmdLine, " ")
	for _, want := range []string{"rootfs.sh /image", `GOOS="$TARGETOS"`, `GOARCH="$TARGETARCH"`} {
		if !strings.Contains(line, want) {
			return fmt.Errorf("%q lacks %s", line, want)
		}
	}
	// Mounts are read when variables are put in; there are none in them.
	if err := run.Expand(func(word string) (string, error) { return word, nil }); err != nil {
		return err
	}
	cached := map[string]bool{}
	for _, m := range instructions.GetMounts(run) {
		cached[m.Target] = m.Type == instructions.MountTypeCache
	}
	for _, want := range []string{"/go/pkg/mod", "/root/.cache/go-build"} {
		if !cached[want] {
			return fmt.Errorf("%s is not kept from build to build", want)
		}
	}
	// What the script reads of its environment are arguments: a shell hands them on only if they are declared.
	return declared(d.build, "TARGETOS", "TARGETARCH", "VERSION", "COMMIT", "DATE")
}

// declared wants arguments of a stage.
func declared(s instructions.Stage, names ...string) error {
	for _, name := range names {
		if !slices.ContainsFunc(of[*instructions.ArgCommand](s), func(a *instructions.ArgCommand) bool {
			return slices.ContainsFunc(a.Args, func(kv instructions.KeyValuePairOptional) bool { return kv.Key == name })
		}) {
			return fmt.Errorf("%s is no argument of the stage from %s", name, s.BaseName)
		}
	}
	return nil
}

func (d *dockerfile) judgeBase() error {
	if d.image.BaseName != "scratch" {
		return fmt.Errorf("the image is from %s, not from scratch", d.image.BaseName)
	}
	for _, c := range d.image.Commands {
		switch c.(type) {
		case *instructions.RunCommand, *instructions.AddCommand, *instructions.EntrypointCommand, *instructions.ShellCommand, *instructions.VolumeCommand:
			return fmt.Errorf("%s: not in this image", c.Name())
		}
	}
	return nil
}

var numericUser = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`)

func (d *dockerfile) judgeUser() error {
	user, err := last[*instructions.UserCommand](d.image)
	if err != nil {
		return err
	}
	if !numericUser.MatchString(user.User) || user.User != "65532:65532" {
		return fmt.Errorf("USER %s, want 65532:65532", user.User)
	}
	return nil
}

func (d *dockerfile) judgeHealth() error {
	check, err := last[*instructions.HealthCheckCommand](d.image)
	if err != nil {
		return err
	}
	h := check.Health
	if want := []string{"CMD", "roomring", "health"}; !slices.Equal(h.Test, want) {
		return fmt.Errorf("HEALTHCHECK %q, want %q: there is no shell", h.Test, want)
	}
	if h.Interval <= 0 || h.Timeout <= 0 || h.Timeout > h.Interval || h.StartPeriod <= 0 || h.Retries <= 0 {
		return fmt.Errorf("HEALTHCHECK leaves times to chance: %+v", *h)
	}
	return nil
}

func (d *dockerfile) judgeCommand() error {
	cmd, err := last[*instructions.CmdCommand](d.image)
	if err != nil {
		return err
	}
	if cmd.PrependShell || !slices.Equal(cmd.CmdLine, []string{"roomring", "--help"}) {
		return fmt.Errorf("CMD %q by a shell: %t", cmd.CmdLine, cmd.PrependShell)
	}
	env, err := last[*instructions.EnvCommand](d.image)
	if err != nil {
		return err
	}
	if env.Env[0].Key != "PATH" || env.Env[0].Value != "/usr/local/bin" {
		return fmt.Errorf("ENV %v: the programs are not found", env.Env)
	}
	return nil
}

func (d *dockerfile) judgeLabels() error {
	labels := map[string]string{}
	for _, c := range of[*instructions.LabelCommand](d.image) {
		for _, label := range c.Labels {
			labels[label.Key] = strings.Trim(label.Value, `"`)
		}
	}
	for _, name := range []string{"title", "description", "url", "source", "documentation", "licenses", "version", "revision", "created"} {
		value := labels["org.opencontainers.image."+name]
		if value == "" {
			return fmt.Errorf("no label %s", name)
		}
		if variable, ok := strings.CutPrefix(value, "$"); ok {
			if err := declared(d.image, variable); err != nil {
				return fmt.Errorf("label %s would be empty: %w", name, err)
			}
		}
	}
	return nil
}

func (d *dockerfile) judgeCopies() error {
	for _, c := range of[*instructions.CopyCommand](d.image) {
		switch {
		case c.From != d.build.Name:
			return fmt.Errorf("%s: no stage %q", c, c.From)
		case c.Chown == "" || c.Chmod == "":
			return fmt.Errorf("%s: does not say whose it is, and for whom", c)
		case len(c.SourcePaths) != 1 || !strings.HasPrefix(c.SourcePaths[0], "/image/") || path.Clean(strings.TrimPrefix(c.SourcePaths[0], "/image")) != path.Clean(c.DestPath):
			return fmt.Errorf("%s: it is elsewhere in the script's tree", c)
		}
	}
	return nil
}

// goVersion is the one that go.mod asks for, without the last number: a later release of it mends faults.
func goVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checks.Root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^go (\d+\.\d+)\b`).FindSubmatch(text)
	if found == nil {
		t.Fatal("go.mod names no version of Go")
	}
	return string(found[1])
}

func judgeFile(t *testing.T, name string) error {
	t.Helper()
	d, err := readDockerfile(name)
	if err != nil {
		return err
	}
	return d.judge(goVersion(t))
}

func TestDockerfile(t *testing.T) {
	if err := judgeFile(t, filepath.Join(checks.Root(t), "deploy/image/Dockerfile")); err != nil {
		t.Error(err)
	}
}

func TestBrokenDockerfile(t *testing.T) {
	for _, test := range []struct{ old, broken, want string }{
		{"FROM scratch", "FRUM scratch", "unknown instruction: FRUM"},
		{"FROM scratch", "FROM alpine:3", "not from scratch"},
		{"AS build", "as build", "FromAsCasing"},
		{"golang:1.", "golang:0.", "go.mod wants"},
		{"golang:1.26.8-alpine", "golang:latest", "go.mod wants"},
		{"--platform=$BUILDPLATFORM ", "", "emulated"},
		{"ARG TARGETARCH\n", "", "TARGETARCH is no argument"},
		{`GOARCH="$TARGETARCH"`, "", "lacks GOARCH"},
		{"--mount=type=cache,target=/root/.cache/go-build", "", "not kept from build to build"},
		{"--mount=type=cache,target=/go/pkg/mod", "--mount=type=tmpfs,target=/go/pkg/mod", "not kept from build to build"},
		{"USER 65532:65532", "USER nobody", "want 65532:65532"},
		{"USER 65532:65532", "", "no *instructions.UserCommand"},
		{`CMD ["roomring", "health"]`, "CMD roomring health", "no shell"},
		{"HEALTHCHECK --interval=10s", "HEALTHCHECK --interval=ten", "ten"},
		{"--timeout=5s ", "", "leaves times to chance"},
		{`CMD ["roomring", "--help"]`, `CMD roomring --help`, "by a shell: true"},
		{`CMD ["roomring", "--help"]`, `ENTRYPOINT ["roomring"]`, "not in this image"},
		{"ENV PATH=/usr/local/bin", "ENV PATH=/bin", "not found"},
		{`org.opencontainers.image.licenses="Apache-2.0"`, `licenses="Apache-2.0"`, "no label licenses"},
		{"FROM scratch\nARG VERSION\n", "FROM scratch\n", "label version would be empty"},
		{"--chown=0:0 ", "", "whose it is"},
		{"/image/etc/ssl/certs/", "/image/etc/tls/certs/", "elsewhere in the script's tree"},
		{"COPY --from=build --chown=65532", "COPY --from=builder --chown=65532", `no stage "builder"`},
	} {
		name := filepath.Join(checks.Copy(t, "deploy/image"), "Dockerfile")
		checks.Broken(t, name, test.old, test.broken)
		if err := judgeFile(t, name); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q for %q: %v\nwant %s", test.broken, test.old, err, test.want)
		}
	}
}
