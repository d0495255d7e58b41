//go:build linux

package chart

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// machine is the one node of a Kubernetes that is not there: a bridge, and pods with addresses of their own
// on it. The test process is its kubelet, its kube-proxy and its DNS.
type machine struct {
	t        *testing.T
	dir      string
	programs string            // the directory of our three
	secrets  map[string][]byte // of the one Secret
	network  netip.Prefix
	zones    []string // nodes' zones, given to pods in turn

	mu   sync.Mutex // guards what is below
	last netip.Addr // given to a pod; none is given twice
	made int
	pods []*pod // that live
}

// pod is one life of a pod: its network, its files and its process.
type pod struct {
	*machine
	name    string
	labels  labels.Set
	spec    *core.PodSpec
	ip      netip.Addr
	root    string   // what the container sees as /
	claims  []string // volumes of claims, by name
	sandbox *exec.Cmd
	log     string // file

	mu      sync.Mutex // guards what is below
	process *exec.Cmd
	ended   chan struct{} // closed when process has ended
	started bool          // the startup probe has succeeded
	ready   bool
	since   time.Time // since when it is ready
	leaving bool
	stop    chan struct{} // closed when nobody is to probe it any more
}

// newMachine makes the bridge. The process must be in a network namespace of its own.
func newMachine(t *testing.T, programs string, network netip.Prefix, secrets map[string][]byte) *machine {
	m := &machine{t: t, dir: t.TempDir(), programs: programs, network: network, last: network.Addr().Next(), secrets: secrets, zones: []string{"zone-a", "zone-b", "zone-c"}}
	t.Cleanup(func() { exec.Command("ip", "link", "del", "pods").Run() })
	m.run("ip", "link", "set", "lo", "up")
	m.run("ip", "link", "add", "pods", "type", "bridge")
	m.run("ip", "addr", "add", fmt.Sprint(m.address(), "/", network.Bits()), "dev", "pods", "nodad")
	m.run("ip", "link", "set", "pods", "up")
	return m
}

// address is that of the machine on the bridge: DNS, the Service and who probes.
func (m *machine) address() netip.Addr { return m.network.Addr().Next() }

func (m *machine) run(command ...string) {
	m.t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}

// create makes a pod with an address that none had before, and starts its container.
func (m *machine) create(name string, w workload) *pod {
	m.t.Helper()
	m.mu.Lock()
	m.last, m.made = m.last.Next(), m.made+1
	p := &pod{machine: m, name: name, labels: labels.Set{}, spec: &w.pod.Spec, ip: m.last, stop: make(chan struct{})}
	p.root = filepath.Join(m.dir, fmt.Sprint("root", m.made))
	zone := m.zones[m.made%len(m.zones)]
	m.mu.Unlock()
	for key, value := range w.pod.Labels {
		p.labels[key] = value
	}
	p.labels["topology.kubernetes.io/zone"] = zone
	for _, claim := range w.claims {
		p.claims = append(p.claims, claim.Name)
	}
	p.connect()
	p.fill()
	p.start()
	m.mu.Lock()
	m.pods = append(m.pods, p)
	m.mu.Unlock()
	go p.probe()
	return p
}

// connect makes the sandbox: a process that holds the network of the pod, whatever its container does.
func (p *pod) connect() {
	p.t.Helper()
	p.sandbox = exec.Command("sleep", "infinity")
	p.sandbox.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := p.sandbox.Start(); err != nil {
		p.t.Fatal(err)
	}
	pid, outside := strconv.Itoa(p.sandbox.Process.Pid), fmt.Sprint("veth", p.made)
	inside := func(command ...string) { p.run(append([]string{"nsenter", "-t", pid, "-n"}, command...)...) }
	p.run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", pid)
	p.run("ip", "link", "set", outside, "master", "pods", "up")
	inside("ip", "link", "set", "lo", "up")
	inside("ip", "addr", "add", fmt.Sprint(p.ip, "/", p.network.Bits()), "dev", "eth0", "nodad")
	inside("ip", "link", "set", "eth0", "up")
	inside("ip", "route", "add", "default", "via", p.address().String())
}

// user is that of the image.
const user = 65532

// fill makes the container's file system: what is in the image, what kubelets put into /etc, and the volumes.
func (p *pod) fill() {
	p.t.Helper()
	for _, dir := range []string{"usr/local/bin", "etc", "tmp"} {
		p.must(os.MkdirAll(filepath.Join(p.root, dir), 0o755))
	}
	for _, name := range []string{"roomring", "roomring-router", "roomring-shard"} {
		p.must(os.Link(filepath.Join(p.programs, name), filepath.Join(p.root, "usr/local/bin", name)))
	}
	p.write("etc/hosts", fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost\n%s\t%s\n", p.ip, p.name), 0o644)
	p.write("etc/resolv.conf", fmt.Sprintf("nameserver %s\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", p.address(), namespace), 0o644)
	for _, m := range p.spec.Containers[0].VolumeMounts {
		p.mount(m)
	}
}

// mount puts the files of a Secret where they are mounted, readable by the group alone, or the directory
// of a claim, which outlives its pods.
func (p *pod) mount(m core.VolumeMount) {
	p.t.Helper()
	to := filepath.Join(p.root, m.MountPath)
	for _, v := range p.spec.Volumes {
		if v.Name != m.Name {
			continue
		}
		p.must(os.MkdirAll(to, 0o755))
		for _, item := range v.Secret.Items {
			file := filepath.Join(m.MountPath, item.Path)
			p.write(file, string(p.secrets[item.Key]), os.FileMode(*v.Secret.DefaultMode))
			p.must(os.Chown(filepath.Join(p.root, file), 0, int(*p.spec.SecurityContext.FSGroup)))
		}
		return
	}
	claim := p.claim(m.Name)
	if os.Rename(claim, to) != nil { // the first time
		p.must(os.MkdirAll(to, 0o755))
		p.must(os.Chown(to, 0, int(*p.spec.SecurityContext.FSGroup)))
		p.must(os.Chmod(to, 0o775|os.ModeSetgid)) // as fsGroup has it
	}
}

func (p *pod) claim(name string) string { return filepath.Join(p.dir, "claim-"+name+"-"+p.name) }

func (p *pod) write(file, text string, mode os.FileMode) {
	p.t.Helper()
	file = filepath.Join(p.root, file)
	p.must(os.WriteFile(file, []byte(text), mode))
	p.must(os.Chmod(file, mode))
}

func (p *pod) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// start starts the container: with the command, arguments and environment that the pod says and nothing
// else, as the image's user, with the image as its root.
func (p *pod) start() {
	p.t.Helper()
	c := &p.spec.Containers[0]
	env := p.environment()
	args := []string{"-t", strconv.Itoa(p.sandbox.Process.Pid), "-n", "--", "/usr/sbin/chroot",
		fmt.Sprintf("--userspec=%d:%d", user, user), "--groups=" + strconv.Itoa(user), p.root, "/usr/local/bin/" + c.Command[0]}
	for _, arg := range c.Args {
		args = append(args, expand(arg, env))
	}
	cmd := exec.Command("nsenter", args...)
	cmd.Env = []string{"PATH=/usr/local/bin", "HOSTNAME=" + p.name}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	p.log = filepath.Join(p.dir, p.name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	p.must(err)
	defer log.Close()
	cmd.Stderr = log
	p.must(cmd.Start())
	ended := make(chan struct{})
	p.mu.Lock()
	p.process, p.ended, p.started, p.ready = cmd, ended, false, false
	if p.leaving { // who ended it did not know of this one
		cmd.Process.Kill()
	}
	p.mu.Unlock()
	go func() {
		cmd.Wait()
		close(ended)
	}()
}

// environment is what the downward API, the Secret and plain values make of the container's variables.
func (p *pod) environment() map[string]string {
	env := map[string]string{}
	for _, e := range p.spec.Containers[0].Env {
		switch from := e.ValueFrom; {
		case from == nil:
			env[e.Name] = expand(e.Value, env)
		case from.FieldRef.FieldPath == "metadata.name":
			env[e.Name] = p.name
		case from.FieldRef.FieldPath == "status.podIP":
			env[e.Name] = p.ip.String()
		default:
			key := strings.TrimSuffix(strings.TrimPrefix(from.FieldRef.FieldPath, "metadata.labels['"), "']")
			env[e.Name] = p.labels[key]
		}
	}
	return env
}

// terminate ends a pod as a kubelet does: no endpoint from now on, preStop, SIGTERM, the grace period,
// SIGKILL. It returns the exit code and how long it took.
func (p *pod) terminate() (code int, took time.Duration) {
	began := time.Now()
	process, ended := p.leave()
	grace := time.After(time.Duration(*p.spec.TerminationGracePeriodSeconds) * time.Second)
	if hook := p.spec.Containers[0].Lifecycle; hook != nil {
		<-time.After(time.Duration(hook.PreStop.Sleep.Seconds) * time.Second)
	}
	process.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-grace:
		process.Process.Kill()
		<-ended
	}
	p.remove()
	return process.ProcessState.ExitCode(), time.Since(began)
}

// leave has the container not be started again, and returns it.
func (p *pod) leave() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	return p.process, p.ended
}

// die ends the container, which is started again.
func (p *pod) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process.Process.Kill()
}

// vanish ends a pod as a power cut does: its address answers nothing, not even that nobody is there.
func (p *pod) vanish() {
	p.sever()
	process, ended := p.leave()
	process.Process.Kill()
	<-ended
	p.remove()
}

func (p *pod) sever() {
	p.run("nsenter", "-t", strconv.Itoa(p.sandbox.Process.Pid), "-n", "ip", "link", "set", "eth0", "down")
}

// remove takes the pod away, and keeps its claims for the next of its name.
func (p *pod) remove() {
	close(p.stop)
	for _, name := range p.claims {
		for _, m := range p.spec.Containers[0].VolumeMounts {
			if m.Name == name {
				p.must(os.Rename(filepath.Join(p.root, m.MountPath), p.claim(name)))
			}
		}
	}
	p.sandbox.Process.Kill()
	p.sandbox.Wait()
	os.RemoveAll(p.root)
	m := p.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, other := range m.pods {
		if other == p {
			m.pods = append(m.pods[:i:i], m.pods[i+1:]...)
			break
		}
	}
}

// tool runs roomring on the machine, beside the pods.
func (m *machine) tool(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(m.programs, "roomring"), args...)
	cmd.Env = append(os.Environ(), "ROOMRING_ADMIN_TOKEN="+string(m.secrets["admin-token"]))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
