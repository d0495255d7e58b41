// Package compose checks deploy/compose: that Docker Compose would read it, that what it says fits together
// and is what the programs take, and, where this machine allows it, that what it describes runs.
package compose

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// project is a Compose project as docker compose would see it.
type project struct {
	*types.Project
	deploy  string // the copy of deploy that it was read from
	volumes string // a directory with one for each volume, once what they hold is made
}

// load reads the Compose files of deploy/compose, one laid over the other: schema, variables, references.
func load(deploy string, environment []string, files ...string) (*project, error) {
	dir := filepath.Join(deploy, "compose")
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = filepath.Join(dir, file)
	}
	options, err := cli.NewProjectOptions(paths, cli.WithWorkingDirectory(dir), cli.WithEnv(environment))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := options.LoadProject(ctx)
	if err != nil {
		return nil, err
	}
	return &project{Project: p, deploy: deploy}, nil
}

// What runs in a container, by the name of its image.
const (
	ours       = "ghcr.io/roomring/roomring"
	nginx      = "nginx"
	traefik    = "traefik"
	prometheus = "prom/prometheus"
	grafana    = "grafana/grafana"
)

// image is the name of a service's image, and its tag.
func image(s types.ServiceConfig) (name, tag string) {
	name, tag, _ = strings.Cut(s.Image, ":")
	return name, tag
}

// sorted are the services of an image, or all of them for "", by name.
func (p *project) sorted(of string) (list []types.ServiceConfig) {
	for _, name := range p.ServiceNames() {
		s := p.Services[name]
		if n, _ := image(s); of == "" || n == of {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b types.ServiceConfig) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// only is the one service of an image.
func (p *project) only(of string) (types.ServiceConfig, error) {
	list := p.sorted(of)
	if len(list) != 1 {
		return types.ServiceConfig{}, fmt.Errorf("%d services of %s, want one", len(list), of)
	}
	return list[0], nil
}

// nodes are the services that run a node, and its program.
func (p *project) nodes() map[string]string {
	all := map[string]string{}
	for _, s := range p.sorted(ours) {
		if len(s.Command) > 0 && strings.HasPrefix(s.Command[0], "roomring-") {
			all[s.Name] = s.Command[0]
		}
	}
	return all
}

// once tells whether a service makes something and ends.
func once(s types.ServiceConfig) bool { return s.Restart == "no" }

// setting is a value of a node's environment, "" when it is not said.
func setting(s types.ServiceConfig, name string) string {
	if value := s.Environment["ROOMRING_"+name]; value != nil {
		return *value
	}
	return ""
}

// flag is a value on a node's command line, "" when it is not there.
func flag(s types.ServiceConfig, name string) string {
	for _, word := range s.Command {
		if value, ok := strings.CutPrefix(word, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// names are all by which a service is known in a network, as Docker's own name server has it.
func names(s types.ServiceConfig, network string) []string {
	n, in := s.Networks[network]
	if !in {
		return nil
	}
	if n == nil {
		return []string{s.Name}
	}
	return append([]string{s.Name}, n.Aliases...)
}

// address is the one that stays, "" if there is none.
func address(s types.ServiceConfig, network string) string {
	if n := s.Networks[network]; n != nil {
		return n.Ipv4Address
	}
	return ""
}
