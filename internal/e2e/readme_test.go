//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// How the README's commands are run here: what a test needs besides is added behind them, and what stands
// for something (PID, a further node) is put in. A command that the README has and this list has not, or
// the other way round, fails the test.
const (
	readmeDev    = "go run ./cmd/roomring dev"
	readmeTest   = "go test ./..." // the gate runs it, and this test is part of it
	readmeBuild  = "go build -o bin/ ./cmd/..."
	readmeKey    = "bin/roomring key "
	readmeShard  = "bin/roomring-shard "
	readmeRouter = "bin/roomring-router "
	readmeVerify = "bin/roomring verify "
	readmeFanout = "bin/roomring bench fanout "
	readmeRooms  = "bin/roomring bench rooms "
	readmeIdle   = "bin/roomring bench idle "
)

// readmeLooks are the commands of the table "Looking at it", and what has them end, and go on without a
// person. What is "" is for failures that this cluster does not have.
var readmeLooks = map[string]string{
	"roomring ring":                  "&& roomring ring --figures && roomring ring --wide",
	"roomring rooms --sort messages": "&& roomring rooms --prefix lob && roomring rooms --all && roomring rooms --sort members",
	"roomring room lobby":            "",
	"roomring plan --add 1":          "&& roomring plan --remove s2",
	"roomring drain s2":              "--yes",
	"roomring events":                "--no-follow",
	"roomring doctor":                "|| true", // this machine may be a bad one
	"roomring forget s2":             "--help",
	"roomring recover":               "--help",
}

// machines are network namespaces with the addresses of the README, and the names of its routers, joined
// by a bridge. The directory for them is covered, so that the machine that we run on sees none.
const machines = `mkdir -p /run/netns
mount -t tmpfs machines /run/netns
ip link add machines type bridge
ip addr add 10.0.0.1/24 dev machines
ip link set machines up
for n in 5 6 7 8 9; do
	ip netns add m$n
	ip link add port$n type veth peer name eth0 netns m$n
	ip link set port$n master machines up
	ip -n m$n link set lo up
	ip -n m$n addr add 10.0.0.$n/24 dev eth0
	ip -n m$n link set eth0 up
done
printf '127.0.0.1 localhost\n10.0.0.5 r1\n10.0.0.6 r2\n' >hosts
mount --bind hosts /etc/hosts
git clone -q https://github.com/roomring/roomring
cd roomring
`

// TestWalkthroughREADME does what the README says, in a fresh clone: what is for one machine on one, and
// what is for several on several, each with an address of its own.
func TestWalkthroughREADME(t *testing.T) {
	if !*walkthrough {
		t.Skip("-walkthrough is not given")
	}
	text := committedText(t, "README.md")
	c := readmeCommands(t, text)
	s := startSession(t)
	s.follow(t, "README.md, one machine", []block{
		{shell: machines},
		{shell: c[readmeBuild] + "\n" + c[readmeDev] + " >dev.log 2>&1 &\ndev=$!\nbin/roomring health --ready --wait 2m\nbin/roomring ring --wait 1m"},
		{shell: "curl -sf http://127.0.0.1:8000/", want: []string{anything, anything + "<title>" + anything, anything}},
		{shell: c[readmeFanout] + " --for 1s"},
		{shell: c[readmeRooms] + " --for 1s"},
		{shell: c[readmeIdle] + " --for 1s"},
		{shell: "pkill -TERM -P $dev\nwait $dev"},
	})

	s.follow(t, "README.md, several machines", []block{
		{shell: c[readmeKey]},
		{shell: nodeOn(c[readmeShard], "s1", 7) + nodeOn(c[readmeShard], "s2", 8) +
			"until grep -q 'waiting for shards: have 2 of 3' s1.log; do sleep 0.1; done"},
		{shell: nodeOn(c[readmeRouter], "r1", 5) + nodeOn(c[readmeRouter], "r2", 6) + nodeOn(c[readmeShard], "s3", 9) +
			"roomring() { ip netns exec m5 bin/roomring \"$@\"; }\nroomring health --ready --wait 1m\nroomring ring --wait 1m",
			want: []string{anything, "3 shards and 2 routers alive; 4093 of 4093 partitions owned", anything}},
		{shell: strings.Replace(c[readmeVerify], "10s='kill -9 PID'", "2s=\"kill -9 $s3\"", 1) + " --for 8s --quiet 4s --no-progress",
			want: []string{anything, "The promises held: " + anything}},
		{shell: nodeOn(c[readmeShard], "s3", 9) + "ip netns exec m9 bin/roomring health --ready --wait 1m\nroomring ring --wait 1m"},
		{shell: "(curl -sN --http1.1 --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' " +
			"-H 'Sec-WebSocket-Key: cm9vbXJpbmcgd2Fsa2VyIQ==' 'http://r1:8000/ws?room=lobby' || true) | tr -c '[:print:]' '\\n'\n"},
	})
	for _, look := range readmeLook(t, text) {
		s.follow(t, "README.md: "+look, []block{{shell: look + " " + readmeLooks[look]}})
	}
	s.follow(t, "README.md, the end", []block{
		{shell: "wait $s2\nkill -TERM $r1 $r2 $s1 $s3\nwait"},
	})
	s.checkEnd(t)
}

// nodeOn starts the node of a command line as another one, on machine 10.0.0.n, and keeps its process id in
// a variable of its name.
func nodeOn(command, id string, n int) string {
	command = regexp.MustCompile(`--id \S+`).ReplaceAllString(command, "--id "+id)
	command = regexp.MustCompile(`--advertise \S+`).ReplaceAllString(command, fmt.Sprintf("--advertise 10.0.0.%d", n))
	return fmt.Sprintf("ip netns exec m%d %s >>%s.log 2>&1 &\n%s=$!\n", n, command, id, id)
}

// readmeCommands finds each of the commands that we know in the README, and fails at others.
func readmeCommands(t *testing.T, text string) map[string]string {
	t.Helper()
	known := []string{readmeDev, readmeTest, readmeBuild, readmeKey, readmeShard, readmeRouter, readmeVerify, readmeFanout, readmeRooms, readmeIdle}
	found := map[string]string{}
	for _, command := range indented(text) {
		name := ""
		for _, k := range known {
			if strings.HasPrefix(command, k) {
				name = k
			}
		}
		if name == "" {
			t.Errorf("the README has a command that this test does not run: %s", command)
		}
		found[name] = command
	}
	for _, k := range known {
		if found[k] == "" {
			t.Fatalf("the README does not have %s any more", k)
		}
	}
	return found
}

// indented are the commands of a document's indented lines, without comments. A \ at the end of a line
// joins the next.
func indented(text string) (commands []string) {
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	for line := range strings.SplitSeq(joined, "\n") {
		command, ok := strings.CutPrefix(line, "    ")
		if ok && (strings.HasPrefix(command, "go ") || strings.HasPrefix(command, "bin/")) {
			command, _, _ = strings.Cut(command, " # ")
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	return commands
}

// readmeLook finds the commands of the table "Looking at it", and fails at others than we know.
func readmeLook(t *testing.T, text string) (looks []string) {
	t.Helper()
	for _, row := range regexp.MustCompile("(?m)^\\| `roomring [^|]*").FindAllString(text, -1) {
		for _, quoted := range regexp.MustCompile("`(roomring [^`]*)`").FindAllStringSubmatch(row, -1) {
			if _, known := readmeLooks[quoted[1]]; !known {
				t.Errorf("the README has a command that this test does not run: %s", quoted[1])
				continue
			}
			looks = append(looks, quoted[1])
		}
	}
	if len(looks) != len(readmeLooks) {
		t.Errorf("the README's table has %q", looks)
	}
	return looks
}

// TestREADMECommands keeps the lists of commands complete, without running any.
func TestREADMECommands(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readmeCommands(t, string(readme))
	readmeLook(t, string(readme))
	got := indented("a\n\n    go run x     # why\n    bin/roomring y \\\n        --z\n    client ──Publish──▶ router\n")
	if len(got) != 2 || got[0] != "go run x" || got[1] != "bin/roomring y --z" {
		t.Errorf("%q", got)
	}
}

// committedText reads a file as it is in the commit that will be cloned.
func committedText(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("git", "-c", "safe.directory=*", "show", "HEAD:"+name)
	cmd.Dir = filepath.Join("..", "..")
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s in HEAD: %v", name, err)
	}
	return string(text)
}
