package compose

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// judge holds a project against what Docker makes of it and the programs want of it.
func (p *project) judge() error {
	var broken []error
	for _, rule := range []func() error{
		p.judgeImages,
		p.judgeRights,
		p.judgeVolumes,
		p.judgeMakers,
		p.judgePorts,
		p.judgeNetworks,
		p.judgeAddresses,
		p.judgeNames,
		p.judgeBounds,
	} {
		broken = append(broken, rule())
	}
	return errors.Join(broken...)
}

var pinned = regexp.MustCompile(`^v?\d+\.\d+\.\d+`)

func (p *project) judgeImages() error {
	for _, s := range p.sorted("") {
		name, tag := image(s)
		if !slices.Contains([]string{ours, nginx, traefik, prometheus, grafana}, name) || !pinned.MatchString(tag) {
			return fmt.Errorf("%s: image %s: which release is it?", s.Name, s.Image)
		}
		if name == ours && (s.Build == nil || s.Build.Dockerfile != "deploy/image/Dockerfile" || s.Build.Context != filepath.Dir(p.deploy)) {
			return fmt.Errorf("%s: it is not built from the clone: %+v", s.Name, s.Build)
		}
	}
	return nil
}

func (p *project) judgeRights() error {
	for _, s := range p.sorted("") {
		name, _ := image(s)
		switch {
		case !s.ReadOnly:
			return fmt.Errorf("%s: its root can be written", s.Name)
		case !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 && name != traefik:
			return fmt.Errorf("%s: it has capabilities", s.Name)
		case !slices.Contains(s.SecurityOpt, "no-new-privileges:true"):
			return fmt.Errorf("%s: it can get new rights", s.Name)
		case s.User != "65532:65532" && name != traefik:
			return fmt.Errorf("%s: user %q cannot read the keys", s.Name, s.User)
		case s.Privileged || s.NetworkMode == "host" || s.Pid == "host":
			return fmt.Errorf("%s: it is in no container", s.Name)
		case s.Restart != "unless-stopped" && s.Restart != "no":
			return fmt.Errorf("%s: restart %q", s.Name, s.Restart)
		}
	}
	return nil
}

// imageDirs are the directories of our image that its user owns: a volume takes that over.
var imageDirs = []string{"/data", "/etc/roomring"}

func (p *project) judgeVolumes() error {
	used := map[string]bool{}
	for _, s := range p.sorted("") {
		for _, v := range s.Volumes {
			switch name, _ := image(s); {
			case v.Type == types.VolumeTypeBind:
				if _, err := os.Stat(v.Source); err != nil && !(name == traefik && v.Source == "/var/run/docker.sock") {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
				if !v.ReadOnly {
					return fmt.Errorf("%s: it could write %s", s.Name, v.Source)
				}
			case v.Volume != nil && v.Volume.NoCopy:
			case name == ours && slices.Contains(imageDirs, v.Target):
			default:
				return fmt.Errorf("%s: whoever mounts volume %s at %s first makes it root's", s.Name, v.Source, v.Target)
			}
			if v.Type == types.VolumeTypeVolume {
				used[v.Source] = true
			}
		}
	}
	for name := range p.Volumes {
		if !used[name] {
			return fmt.Errorf("volume %s is nobody's", name)
		}
	}
	return nil
}

// judgeMakers: who uses what others make waits for them.
func (p *project) judgeMakers() error {
	for _, s := range p.sorted("") {
		if once(s) {
			if s.NetworkMode != "none" || s.HealthCheck == nil || !s.HealthCheck.Disable {
				return fmt.Errorf("%s: it only makes something, and needs no network and no check", s.Name)
			}
			continue
		}
		for _, v := range s.Volumes {
			if v.Volume == nil || !v.Volume.NoCopy {
				continue
			}
			maker, err := p.maker(v.Source)
			if err != nil {
				return err
			}
			if s.DependsOn[maker].Condition != types.ServiceConditionCompletedSuccessfully {
				return fmt.Errorf("%s: does not wait for %s, who makes volume %s", s.Name, maker, v.Source)
			}
		}
	}
	return nil
}

func (p *project) maker(volume string) (string, error) {
	for _, s := range p.sorted(ours) {
		for _, v := range s.Volumes {
			if once(s) && v.Source == volume && !v.ReadOnly {
				return s.Name, nil
			}
		}
	}
	return "", fmt.Errorf("nobody makes volume %s", volume)
}

func (p *project) judgePorts() error {
	taken := map[string]string{}
	for _, s := range p.sorted("") {
		name, _ := image(s)
		for _, port := range s.Ports {
			switch {
			case name == grafana && port.HostIP != "127.0.0.1":
				return fmt.Errorf("%s: port %s is for all the world", s.Name, port.Published)
			case name != grafana && name != nginx && name != traefik:
				return fmt.Errorf("%s: port %s is published", s.Name, port.Published)
			case taken[port.Published] != "":
				return fmt.Errorf("%s: port %s is that of %s", s.Name, port.Published, taken[port.Published])
			}
			taken[port.Published] = s.Name
		}
	}
	if len(taken) != 2 {
		return fmt.Errorf("ports %v, want one for clients and one for Grafana", taken)
	}
	return nil
}

// networks are whose each network is.
var networksOf = map[string][]string{"roomring-shard": {"back"}, "roomring-router": {"back", "front"}, nginx: {"front"}, traefik: {"front"},
	prometheus: {"back", "watch"}, grafana: {"watch"}}

func (p *project) judgeNetworks() error {
	if !p.Networks["back"].Internal || p.Networks["front"].Internal || p.Networks["watch"].Internal {
		return errors.New("the network behind is the one that leads nowhere")
	}
	for _, s := range p.sorted("") {
		kind, _ := image(s)
		if program := p.nodes()[s.Name]; program != "" {
			kind = program
		}
		in := s.NetworksByPriority()
		slices.Sort(in)
		if !once(s) && !slices.Equal(in, networksOf[kind]) {
			return fmt.Errorf("%s: in %v, want %v", s.Name, in, networksOf[kind])
		}
	}
	return nil
}

// judgeAddresses: those that stay are in their network, where Docker gives out none, and known to who asks.
func (p *project) judgeAddresses() error {
	pools := p.Networks["front"].Ipam.Config
	if len(pools) != 1 {
		return fmt.Errorf("%d pools of addresses in front", len(pools))
	}
	subnet, err := netip.ParsePrefix(pools[0].Subnet)
	given, err2 := netip.ParsePrefix(pools[0].IPRange)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	owner := map[string]string{}
	for _, s := range p.sorted("") {
		text := address(s, "front")
		if _, in := s.Networks["front"]; !in {
			continue
		}
		ip, err := netip.ParseAddr(text)
		if err != nil || !subnet.Contains(ip) || given.Contains(ip) || owner[text] != "" {
			return fmt.Errorf("%s: address %q in front: %v", s.Name, text, err)
		}
		owner[text] = s.Name
	}
	for _, s := range p.sorted("") {
		if p.nodes()[s.Name] != "roomring-router" {
			continue
		}
		proxy := owner[setting(s, "TRUSTED_PROXIES")]
		if name, _ := image(p.Services[proxy]); name != nginx && name != traefik {
			return fmt.Errorf("%s: trusts %q, which is no proxy", s.Name, setting(s, "TRUSTED_PROXIES"))
		}
		if proxy := p.Services[proxy]; len(proxy.ExtraHosts) > 0 && !slices.Equal(proxy.ExtraHosts[s.Name], []string{address(s, "front")}) {
			return fmt.Errorf("%s knows %s at %v, not at %s", proxy.Name, s.Name, proxy.ExtraHosts[s.Name], address(s, "front"))
		}
	}
	return nil
}

// judgeNames: what a node is told of names stands for it, and where it matters for one address alone.
func (p *project) judgeNames() error {
	ids := map[string]bool{}
	for name, program := range p.nodes() {
		s := p.Services[name]
		if id := flag(s, "id"); id != name || ids[id] {
			return fmt.Errorf("%s: its id is %q", name, id)
		}
		advertised := flag(s, "advertise")
		if !slices.Contains(names(s, "back"), advertised) || slices.Contains(names(s, "front"), advertised) {
			return fmt.Errorf("%s: %q is not its name behind, and there alone", name, advertised)
		}
		if program == "roomring-router" {
			for _, name := range []string{"link", "gossip"} {
				if host, _, err := net.SplitHostPort(flag(s, name)); err != nil || host != advertised {
					return fmt.Errorf("%s: --%s=%s is not where others look for it", s.Name, name, flag(s, name))
				}
			}
		}
		if err := p.judgeSeeds(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *project) judgeSeeds(s types.ServiceConfig) error {
	seeds := strings.Split(setting(s, "JOIN"), ",")
	if len(seeds) < 3 {
		return fmt.Errorf("%s: %d seeds: three shards found a cluster", s.Name, len(seeds))
	}
	for _, seed := range seeds {
		host, port, err := net.SplitHostPort(seed)
		if err != nil {
			return err
		}
		_, gossip, err := net.SplitHostPort(setting(p.Services[host], "GOSSIP"))
		if p.nodes()[host] != "roomring-shard" || err != nil || port != gossip {
			return fmt.Errorf("%s: nobody gossips at %s", s.Name, seed)
		}
	}
	return nil
}

// judgeBounds: descriptors, memory and logs have one.
func (p *project) judgeBounds() error {
	for _, s := range p.sorted("") {
		if once(s) {
			continue
		}
		_, node := p.nodes()[s.Name]
		name, _ := image(s)
		switch {
		case s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "":
			return fmt.Errorf("%s: its log grows for ever", s.Name)
		case node && s.MemLimit < 256<<20:
			return fmt.Errorf("%s: memory limit of %d", s.Name, s.MemLimit)
		case (node || name == nginx || name == traefik) && (s.Ulimits["nofile"] == nil || s.Ulimits["nofile"].Soft < 8192 || s.Ulimits["nofile"].Soft != s.Ulimits["nofile"].Hard):
			return fmt.Errorf("%s: how many descriptors it has is left to chance", s.Name)
		case s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD":
			return fmt.Errorf("%s: nobody asks whether it is well, or a shell has to", s.Name)
		case s.StopGracePeriod == nil:
			return fmt.Errorf("%s: how long it has to end is left to chance", s.Name)
		case node && !slices.Equal(s.HealthCheck.Test, []string{"CMD", "roomring", "health", "--ready"}):
			return fmt.Errorf("%s: its health is not its readiness", s.Name)
		}
		for _, dir := range s.Tmpfs {
			if !strings.Contains(dir, "size=") {
				return fmt.Errorf("%s: %s grows for ever", s.Name, dir)
			}
		}
	}
	return nil
}
