//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// subject is something that serves rooms.
type subject struct {
	name  string
	title string
	path  string // of the URL; the room's name is put behind it

	roomring bool // made of Roomring's programs

	// start starts it on an empty stage and returns the port for clients once it serves them.
	start func(ctx context.Context, s *stage) (port int, err error)
}

// bareName is the subject that all others are compared with.
const bareName = "bare"

// programs are where to find what is measured. An empty path means that it is not there.
type programs struct {
	router, shard, self, nginx, haproxy string
}

// findPrograms says where Roomring's programs are, or will be once they are built, and looks for the rest.
func findPrograms(roomring, built string) (p programs, err error) {
	if roomring == "" {
		roomring = built
	}
	if roomring, err = filepath.Abs(roomring); err != nil {
		return p, err
	}
	p = programs{router: filepath.Join(roomring, "roomring-router"), shard: filepath.Join(roomring, "roomring-shard"),
		nginx: find("nginx"), haproxy: find("haproxy")}
	if p.self, err = os.Executable(); err != nil {
		return p, fmt.Errorf("find this program: %w", err)
	}
	return p, nil
}

// find looks in the path, and where packages put daemons: not everybody has that in the path.
func find(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// subjects lists what can be measured, and what is missing.
func subjects(p programs) (list []subject, missing []string) {
	list = []subject{
		{name: bareName, title: "bare loop", path: "/?room=",
			start: func(ctx context.Context, s *stage) (int, error) { return p.startBare(ctx, s, "loop1") }},
		{name: "roomring", title: "Roomring: router, owner, follower", path: "/ws?room=", roomring: true,
			start: func(ctx context.Context, s *stage) (int, error) { return p.startRoomring(ctx, s, 1) }},
		{name: "roomring-0", title: "Roomring without copies: router, owner", path: "/ws?room=", roomring: true,
			start: func(ctx context.Context, s *stage) (int, error) { return p.startRoomring(ctx, s, 0) }},
	}
	if p.nginx != "" {
		list = append(list, subject{name: "nginx", title: "nginx before two bare loops", path: "/?room=", start: p.startNginx})
	} else {
		missing = append(missing, "nginx")
	}
	if p.haproxy != "" {
		list = append(list, subject{name: "haproxy", title: "HAProxy before two bare loops", path: "/?room=", start: p.startHAProxy})
	} else {
		missing = append(missing, "haproxy")
	}
	return list, missing
}

func (p *programs) startBare(ctx context.Context, s *stage, name string) (int, error) {
	port, err := s.ports.take()
	if err != nil {
		return 0, err
	}
	if err := s.start(name, p.self, "-serve-bare", loopback(port)); err != nil {
		return 0, err
	}
	return port, s.waitPort(ctx, port)
}

// startRoomring starts a router and as many shards as a room has copies, with the settings that a user
// has who sets none. Only moves are not limited, so that the empty cluster settles in a second.
func (p *programs) startRoomring(ctx context.Context, s *stage, followers int) (int, error) {
	shards := followers + 1
	seed := 0
	for i := range shards {
		id := fmt.Sprintf("s%d", i+1)
		if err := s.startNode(id, p.shard, &seed, "--bootstrap-expect", fmt.Sprint(shards), "--followers", fmt.Sprint(followers)); err != nil {
			return 0, err
		}
	}
	listen, err := s.ports.take()
	if err != nil {
		return 0, err
	}
	if err := s.startNode("r1", p.router, &seed, "--listen", loopback(listen)); err != nil {
		return 0, err
	}
	return listen, s.wait(ctx, "one settled cluster", func() bool {
		return !slices.ContainsFunc(s.admins, func(a admin) bool { return !a.settled(ctx, shards+1) })
	})
}

// startNode starts a node of Roomring. The first one is the seed of all.
func (s *stage) startNode(id, program string, seed *int, more ...string) error {
	var gossip, link, port int
	if err := s.ports.takeAll(&gossip, &link, &port); err != nil {
		return err
	}
	if *seed == 0 {
		*seed = gossip
	}
	s.admins = append(s.admins, admin{id, port})
	return s.start(id, program, append([]string{"--id", id, "--gossip", loopback(gossip), "--link", loopback(link),
		"--admin", loopback(port), "--join", loopback(*seed), "--max-moves", "1024"}, more...)...)
}

// settled asks the node whether it is ready, sees as many nodes, and says that every room has its copies.
func (a admin) settled(ctx context.Context, nodes int) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var ring struct {
		Settled bool
		Nodes   []struct{ State string }
	}
	if _, err := a.ask(ctx, "/readyz"); err != nil {
		return false
	}
	text, err := a.ask(ctx, "/v1/ring?table=0")
	if err != nil || json.Unmarshal(text, &ring) != nil {
		return false
	}
	alive := 0
	for _, n := range ring.Nodes {
		if n.State == "alive" {
			alive++
		}
	}
	return ring.Settled && alive == nodes
}

// ask reads a document, if the answer is 200.
func (a admin) ask(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(a.port)+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := askClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", path, answer.Status, text)
	}
	return text, err
}

var askClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// startProxied starts two bare loops and a proxy before them, which sends a room always to the same one.
func (p *programs) startProxied(ctx context.Context, s *stage, name, program string, config func(proxy) string, args ...string) (int, error) {
	x := proxy{dir: s.dir, root: os.Geteuid() == 0, conns: s.conns}
	for i := range x.behind {
		var err error
		if x.behind[i], err = p.startBare(ctx, s, fmt.Sprintf("loop%d", i+1)); err != nil {
			return 0, err
		}
	}
	var err error
	if x.port, err = s.ports.take(); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, name+".conf"), []byte(config(x)), 0o644); err != nil {
		return 0, err
	}
	if err := s.start(name, program, args...); err != nil {
		return 0, err
	}
	return x.port, s.waitPort(ctx, x.port)
}

func (p *programs) startNginx(ctx context.Context, s *stage) (int, error) {
	return p.startProxied(ctx, s, "nginx", p.nginx, proxy.nginx, nginxArgs(s.dir)...)
}

func (p *programs) startHAProxy(ctx context.Context, s *stage) (int, error) {
	return p.startProxied(ctx, s, "haproxy", p.haproxy, proxy.haproxy, "-db", "-f", filepath.Join(s.dir, "haproxy.conf"))
}
