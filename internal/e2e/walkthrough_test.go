//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var walkthrough = flag.Bool("walkthrough", false, "do what docs/walkthrough.md and the README say, in namespaces; needs root, git, iproute2, nginx and prometheus")

const (
	walkTime  = 10 * time.Minute // for a whole document: a busy machine builds for a minute
	blockTime = 3 * time.Minute  // for one block of it
)

// block is commands that a document has its reader type, and what it says that one sees then.
type block struct {
	line  int // where the commands begin
	shell string
	want  []string // nil: the document does not say
}

// blocks reads the fences of a document: ```sh is commands, and a ```text behind it, with prose between
// them or not, is what they print. There are no others, so that a misspelt one is not passed over.
func blocks(document string) (list []block, err error) {
	fence, begin := "", 0
	var text []string
	for i, line := range strings.Split(document, "\n") {
		mark, isFence := strings.CutPrefix(line, "```")
		switch {
		case !isFence && fence != "":
			text = append(text, line)
		case !isFence:
		case fence == "" && mark != "sh" && mark != "text":
			return nil, fmt.Errorf("line %d: a block of %q: want sh or text", i+1, mark)
		case fence == "":
			fence, begin, text = mark, i+2, nil
		case mark != "":
			return nil, fmt.Errorf("line %d: the block of line %d has no end", i+1, begin-1)
		case fence == "sh":
			list = append(list, block{line: begin, shell: strings.Join(text, "\n") + "\n"})
			fence = ""
		case len(list) == 0 || list[len(list)-1].want != nil:
			return nil, fmt.Errorf("line %d: output of no commands", begin-1)
		case len(text) == 0:
			return nil, fmt.Errorf("line %d: no output in it", begin-1)
		default:
			list[len(list)-1].want = text
			fence = ""
		}
	}
	if fence != "" {
		return nil, fmt.Errorf("the block of line %d has no end", begin-1)
	}
	return list, nil
}

// any stands for any text in a line of expected output, and alone on a line for any lines, or none.
const anything = "…"

// unseen returns the first line that is expected and that the output does not have at its place, or ""
// if the output is all that is expected. Blanks are as good as one: columns are as wide as they must be.
func unseen(want []string, output string) string {
	var got []string
	if output = strings.TrimRight(output, " \n"); output != "" {
		got = strings.Split(output, "\n")
	}
	furthest := -1
	var from func(w, g int) bool
	from = func(w, g int) bool {
		furthest = max(furthest, w)
		switch {
		case w == len(want):
			return g == len(got)
		case strings.TrimSpace(want[w]) == anything:
			return from(w+1, g) || g < len(got) && from(w, g+1)
		}
		return g < len(got) && seen(want[w], got[g]) && from(w+1, g+1)
	}
	switch {
	case from(0, 0):
		return ""
	case furthest == len(want):
		return "(the end)"
	case strings.TrimSpace(want[furthest]) == "":
		return "(an empty line)"
	}
	return want[furthest]
}

// seen tells whether a line is as expected.
func seen(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(blanks(want)), anything, ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(blanks(got))
}

func blanks(line string) string { return strings.Join(strings.Fields(line), " ") }

// jobNotes are what the shell says of its own about jobs that were killed.
var jobNotes = regexp.MustCompile(`(?m)^\S+: line \d+: +\d+ (Killed|Terminated) .*\n`)

// session is a shell in namespaces of its own, for network, processes and mounts, in which blocks are run
// one after the other. It fails at the first command that does.
type session struct {
	dir  string // everything that it makes is below
	cmd  *exec.Cmd
	next *os.File      // takes the path of the next block
	done *bufio.Reader // has a line for each block that went well
	end  <-chan time.Time
	most time.Duration // for one block
	n    int
}

// driver takes blocks from descriptor 3 and reports on 4. What it starts in the background must hold
// neither, nor read the terminal.
const driver = `set -e -o pipefail
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
while read -r block <&3; do
	. "$block" 3<&- 4>&- </dev/null >"$block.out" 2>&1
	echo done >&4
done
`

func startSession(t *testing.T) *session {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("only root may make namespaces")
	}
	blocks, next := pipe(t)
	report, done := pipe(t)
	ctx, cancel := context.WithTimeout(t.Context(), walkTime)
	t.Cleanup(cancel)
	s := &session{dir: t.TempDir(), next: next, done: bufio.NewReader(report), end: time.After(walkTime), most: blockTime}
	s.cmd = exec.CommandContext(ctx, "bash", "-c", driver)
	s.cmd.Dir = s.dir
	s.cmd.Env = append(s.environment(t), "HOME="+s.dir, "LC_ALL=C.UTF-8")
	s.cmd.ExtraFiles = []*os.File{blocks, done}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	var said strings.Builder
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	blocks.Close()
	done.Close()
	t.Cleanup(func() {
		next.Close()
		s.cmd.Process.Kill() // the first process of its namespace: all others end with it
		s.cmd.Wait()
		if t.Failed() && said.Len() > 0 {
			t.Logf("the shell said: %s", said.String())
		}
	})
	return s
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// environment has git take the repository from this machine, and go its modules from what is there.
func (s *session) environment(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMODCACHE", "GOCACHE", "GOPATH").Output()
	root, errRoot := filepath.Abs(filepath.Join("..", ".."))
	dirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || errRoot != nil || len(dirs) != 3 {
		t.Fatal(err, errRoot, dirs)
	}
	environment := []string{"PATH=" + os.Getenv("PATH"), "GOMODCACHE=" + dirs[0], "GOCACHE=" + dirs[1], "GOPATH=" + dirs[2],
		"GOPROXY=off", "GOTOOLCHAIN=local", "GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=url." + root + ".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/roomring/roomring",
		"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*"}
	if root := os.Getenv("GOROOT"); root != "" {
		environment = append(environment, "GOROOT="+root)
	}
	return environment
}

// otherOutput says that a line is missing. What comes behind that block may be right all the same.
type otherOutput struct{ line string }

func (o *otherOutput) Error() string {
	return "the document says that one sees, at its place: " + o.line
}

// run runs a block and returns what it printed, and an error if a command failed or took too long, or
// the output is not what the document says.
func (s *session) run(b block) (output string, err error) {
	s.n++
	path := filepath.Join(s.dir, fmt.Sprintf("block-%02d", s.n))
	if err := os.WriteFile(path, []byte(b.shell), 0o600); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(s.next, path); err != nil {
		return "", fmt.Errorf("the shell has ended: %w", err)
	}
	done := make(chan error, 1)
	go func() { // ends with the shell at the latest
		_, err := s.done.ReadString('\n')
		done <- err
	}()
	select {
	case err = <-done:
		if err != nil {
			err = fmt.Errorf("a command failed: the shell has ended")
		}
	case <-time.After(s.most):
		err = fmt.Errorf("not done after %s", s.most)
	case <-s.end:
		err = fmt.Errorf("the whole document took longer than %s", walkTime)
	}
	text, errRead := os.ReadFile(path + ".out")
	output = jobNotes.ReplaceAllString(string(text), "")
	if err == nil && errRead == nil && b.want != nil {
		if line := unseen(b.want, output); line != "" {
			err = &otherOutput{line}
		}
	}
	if err == nil {
		err = errRead
	}
	return output, err
}

// follow runs all blocks of a document, in order.
func (s *session) follow(t *testing.T, name string, list []block) {
	t.Helper()
	for _, b := range list {
		began := time.Now()
		output, err := s.run(b)
		t.Logf("%s:%d: %.1f s\n%s", name, b.line, time.Since(began).Seconds(), output)
		if err != nil {
			t.Errorf("%s:%d: %v\n--- commands\n%s--- output\n%s--- expected\n%s", name, b.line, err, b.shell, output, strings.Join(b.want, "\n"))
		}
		if other := (*otherOutput)(nil); err != nil && !errors.As(err, &other) {
			t.Fatalf("the rest of %s was not tried\n%s", name, s.logs())
		}
	}
}

// logs are the ends of all logs of the session.
func (s *session) logs() string {
	var all strings.Builder
	filepath.WalkDir(s.dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".log") {
			text, _ := os.ReadFile(path)
			fmt.Fprintf(&all, "--- %s\n%s\n", path, tail(string(text), 6))
		}
		return nil // what cannot be read is not shown
	})
	return all.String()
}

// remains prints what else runs in the session's namespace, but for what has ended and was not waited for.
const remains = `for p in /proc/[0-9]*; do
	if [ "${p#/proc/}" != $$ ] && { read -r process <"$p/stat"; } 2>/dev/null; then
		state=${process##*) }
		[ "${state%% *}" = Z ] || echo "$process"
	fi
done
`

// TestWalkthrough does what docs/walkthrough.md says, command by command, in a fresh clone of what is
// committed here.
func TestWalkthrough(t *testing.T) {
	if !*walkthrough {
		t.Skip("-walkthrough is not given")
	}
	for _, program := range []string{"git", "ip", "nginx", "prometheus", "promtool", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	s := startSession(t)
	s.follow(t, "docs/walkthrough.md", committed(t, "docs/walkthrough.md"))
	s.checkEnd(t)
}

// checkEnd checks that nothing runs any more.
func (s *session) checkEnd(t *testing.T) {
	t.Helper()
	if left, err := s.run(block{shell: remains}); err != nil || left != "" {
		t.Errorf("what the document started and did not end: %v\n%s", err, left)
	}
}

// TestWalkthroughFails has documents that are wrong, each in its way, and nobody may pass them.
func TestWalkthroughFails(t *testing.T) {
	if !*walkthrough {
		t.Skip("-walkthrough is not given")
	}
	for name, c := range map[string]struct{ document, want string }{
		"right":                    {"a=1\n@echo $a\n=1", ""},
		"another output":           {"@echo 2\n=1", "one sees, at its place: 1"},
		"more output":              {"@echo 1; echo 2\n=1", "one sees, at its place: (the end)"},
		"no output":                {"@true\n=1", "one sees, at its place: 1"},
		"a command that is not":    {"@roomring-rooter\n=…", "a command failed"},
		"a command that fails":     {"@false\ntrue", "a command failed"},
		"a pipe that fails":        {"@false | true", "a command failed"},
		"a file that is not there": {"@cat none\n=…", "a command failed"},
		"a child that failed":      {"@false &\nwait $!", "a command failed"},
		"a wait without an end":    {"@until false; do :; done", "not done after"},
		"a shell that goes":        {"@exit 0", "a command failed"},
		"a process that stays":     {"@sleep 1000 >sleep.log &\nuntil grep sleep /proc/$!/comm; do :; done", "(sleep)"},
		"a process that ended":     {"@sleep 1000 >sleep.log &\nkill $!\nwait $! || true", ""},
		"a network that is ours":   {"@! ip route get 10.1.2.3 2>&1\n=…unreachable", ""},
	} {
		t.Run(name, func(t *testing.T) {
			commands, want, _ := strings.Cut(c.document, "\n=")
			first, second, _ := strings.Cut(commands, "@") // two blocks: the second has what the first one set
			document := "# A document\n\n```sh\n" + first + "```\n\nand\n\n```sh\n" + second + "\n```\n"
			if want != "" {
				document += "\n```text\n" + want + "\n```\n"
			}
			list, err := blocks(document)
			if err != nil {
				t.Fatal(err)
			}
			s := startSession(t)
			s.most = 2 * time.Second
			output := ""
			for _, b := range append(list, block{shell: remains}) {
				if output, err = s.run(b); err != nil {
					break
				}
			}
			got := output // of remains
			if err != nil {
				got = err.Error()
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestWalkthroughBlocks(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "walkthrough.md"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := blocks(string(document)); err != nil || len(list) == 0 {
		t.Errorf("docs/walkthrough.md: %d blocks, %v", len(list), err)
	}
	fence := func(kind string, lines ...string) string {
		return "```" + kind + "\n" + strings.Join(append(lines, "```"), "\n") + "\n"
	}
	list, err := blocks("# T\n\n" + fence("sh", "a", "", "b") + "prose\n" + fence("text", "x", "y") + fence("sh", "c"))
	want := []block{{line: 4, shell: "a\n\nb\n", want: []string{"x", "y"}}, {line: 14, shell: "c\n"}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%+v, %v", list, err)
	}
	for name, c := range map[string]struct{ document, want string }{
		"another fence":     {fence("bash", "a"), "line 1: a block of \"bash\""},
		"no kind":           {fence("", "a"), "line 1: a block of \"\""},
		"no end":            {"```sh\na\n", "line 1 has no end"},
		"no end, and more":  {"```sh\na\n" + fence("text", "b"), "line 1 has no end"},
		"output of nothing": {fence("text", "a"), "line 1: output of no commands"},
		"output twice":      {fence("sh", "a") + fence("text", "b") + fence("text", "c"), "line 7: output of no commands"},
		"no output":         {fence("sh", "a") + fence("text"), "line 4: no output"},
	} {
		if list, err := blocks(c.document); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

func TestWalkthroughOutput(t *testing.T) {
	for _, c := range []struct {
		want, got string
		unseen    string
	}{
		{"a\nb", "a\nb\n", ""},
		{"a\nb", "a\nb\n\n", ""},
		{"a", "b", "a"},
		{"a\nb", "a\nc", "b"},
		{"a\nb", "a", "b"},
		{"a", "a\nb", "(the end)"},
		{"a", "", "a"},
		{"a\n\nb", "a\n\nb", ""},
		{"a\n\nb", "a\nb", "(an empty line)"},
		{"…", "", ""},
		{"…", "a\nb", ""},
		{"a\n…\nd", "a\nb\nc\nd", ""},
		{"a\n…\nd", "a\nd", ""},
		{"a\n…\nd", "a\nb\nc", "d"},
		{"…\nb\n…", "a\nb\nb\nc", ""},
		{"…\nb", "b\na\nb", ""},
		{"n … of … rooms", "n 1 of 10 rooms", ""},
		{"n … of … rooms", "n 1 of 10 room", "n … of … rooms"},
		{"took …", "took 3 s", ""},
		{"1.5 s", "1x5 s", "1.5 s"}, // nothing but … is special
		{"(a|b)*", "(a|b)*", ""},
		{"NODE  ROLE", "NODE            ROLE  ", ""},
		{"NODE  ROLE", "NODEROLE", "NODE  ROLE"},
	} {
		if got := unseen(strings.Split(c.want, "\n"), c.got); got != c.unseen {
			t.Errorf("%q in %q: %q, want %q", c.want, c.got, got, c.unseen)
		}
	}
}

// committed reads the blocks of a document as it is in the commit that will be cloned.
func committed(t *testing.T, name string) []block {
	t.Helper()
	list, err := blocks(committedText(t, name))
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: %d blocks, %v", name, len(list), err)
	}
	return list
}
