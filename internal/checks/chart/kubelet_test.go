//go:build linux

package chart

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	core "k8s.io/api/core/v1"
)

// probe asks the pod what its probes say, until it is gone, and starts a container again that ended.
func (p *pod) probe() {
	c := &p.spec.Containers[0]
	failures := map[*core.Probe]int32{}
	next := map[*core.Probe]time.Time{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		p.mu.Lock()
		ended := p.ended
		p.mu.Unlock()
		select {
		case <-p.stop:
			return
		case <-ended:
			if p.is(func() bool { return p.leaving }) {
				return
			}
			p.start() // restartPolicy Always
		case <-tick.C:
		}
		for _, probe := range []*core.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
			if started := p.is(func() bool { return p.started }); started == (probe == c.StartupProbe) || time.Now().Before(next[probe]) {
				continue
			}
			next[probe] = time.Now().Add(time.Duration(probe.PeriodSeconds) * time.Second)
			if p.ask(probe) {
				failures[probe] = 0
			} else {
				failures[probe]++
			}
			p.conclude(probe, failures[probe])
		}
	}
}

func (p *pod) is(what func() bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return what()
}

// ask is one question of a probe, as a kubelet asks it: from the machine, at the pod's address.
func (p *pod) ask(probe *core.Probe) bool {
	client := http.Client{Timeout: time.Duration(probe.TimeoutSeconds) * time.Second}
	port := portOf(&p.spec.Containers[0], probe.HTTPGet.Port.StrVal)
	answer, err := client.Get("http://" + netip.AddrPortFrom(p.ip, uint16(port)).String() + probe.HTTPGet.Path)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode >= 200 && answer.StatusCode < 400
}

func (p *pod) conclude(probe *core.Probe, failures int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.spec.Containers[0]
	failed := failures >= probe.FailureThreshold
	switch {
	case probe == c.ReadinessProbe && failures == 0 && !p.ready:
		p.ready, p.since = true, time.Now()
	case probe == c.ReadinessProbe && failed:
		p.ready = false
	case probe == c.StartupProbe && failures == 0:
		p.started = true
	case failed && !p.leaving:
		p.t.Errorf("%s: a kubelet would kill it now: %s failed %d times", p.name, probe.HTTPGet.Path, failures)
	}
}

// available reports whether the pod has been ready for as long as its workload asks for.
func (p *pod) available(least int32) bool {
	return p.is(func() bool { return p.ready && time.Since(p.since) >= time.Duration(least)*time.Second })
}

// endpoints are the pods behind a Service.
func (m *machine) endpoints(s *core.Service) (all []*pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pods {
		if matches(s.Spec.Selector, p.labels) && (s.Spec.PublishNotReadyAddresses || p.is(func() bool { return p.ready && !p.leaving })) {
			all = append(all, p)
		}
	}
	return all
}

// resolve answers questions for the Services: a headless one is its pods, another one is the machine.
func (m *machine) resolve(t *testing.T, services []*core.Service) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(m.address(), 53)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(packet[:n]) != nil || len(message.Questions) != 1 {
				continue
			}
			if answer, err := m.answer(&message, services); err == nil {
				conn.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
}

func (m *machine) answer(message *dnsmessage.Message, services []*core.Service) ([]byte, error) {
	q := message.Questions[0]
	message.Response, message.Authoritative, message.RCode = true, true, dnsmessage.RCodeNameError
	message.Additionals = nil
	for _, s := range services {
		if !strings.EqualFold(q.Name.String(), s.Name+"."+namespace+".svc.cluster.local.") {
			continue
		}
		message.RCode = dnsmessage.RCodeSuccess
		addresses := []netip.Addr{m.address()}
		if s.Spec.ClusterIP == core.ClusterIPNone {
			addresses = nil
			for _, p := range m.endpoints(s) {
				addresses = append(addresses, p.ip)
			}
		}
		for _, a := range addresses {
			header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 5}
			switch {
			case q.Type == dnsmessage.TypeA && a.Is4():
				message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
			case q.Type == dnsmessage.TypeAAAA && a.Is6():
				message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
	}
	return message.Pack()
}

// spread is how long it takes here until all that forward clients have heard of an endpoint's end.
const spread = 2 * time.Second

// forward is a Service's port: each conn goes to the next endpoint, as they were known a moment ago. It
// counts conns that an endpoint did not take, or turned away.
type forward struct {
	m       *machine
	service *core.Service

	mu    sync.Mutex // guards what is below
	known []known
	next  int
	wrong int // conns that were sent to somebody who takes none
}

// known is when an address was last seen among the endpoints.
type known struct {
	address string
	last    time.Time
}

func (m *machine) forward(t *testing.T, s *core.Service) *forward {
	f := &forward{m: m, service: s}
	ln, err := net.Listen("tcp", netip.AddrPortFrom(m.address(), uint16(s.Spec.Ports[0].Port)).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			f.look()
			if t.Context().Err() != nil {
				return
			}
		}
	}()
	return f
}

func (f *forward) look() {
	endpoints := f.m.endpoints(f.service)
	f.mu.Lock()
	defer f.mu.Unlock()
	now, fresh := time.Now(), []known{}
	here := map[string]bool{}
	for _, p := range endpoints {
		address := netip.AddrPortFrom(p.ip, uint16(portOf(&p.spec.Containers[0], f.service.Spec.Ports[0].TargetPort.StrVal))).String()
		fresh, here[address] = append(fresh, known{address, now}), true
	}
	for _, k := range f.known {
		if !here[k.address] && now.Sub(k.last) < spread {
			fresh = append(fresh, k)
		}
	}
	f.known = fresh
}

func (f *forward) serve(client net.Conn) {
	defer client.Close()
	f.mu.Lock()
	if len(f.known) == 0 {
		f.mu.Unlock()
		return
	}
	f.next++
	to := f.known[f.next%len(f.known)].address
	f.mu.Unlock()
	pod, err := net.DialTimeout("tcp", to, 3*time.Second)
	if err != nil {
		f.count()
		return
	}
	defer pod.Close()
	go func() {
		io.Copy(pod, client)
		pod.(*net.TCPConn).CloseWrite()
	}()
	answer := make([]byte, len(turnedAway))
	n, _ := io.ReadFull(pod, answer)
	if string(answer[:n]) == turnedAway {
		f.count()
	}
	client.Write(answer[:n])
	io.Copy(client, pod)
}

// turnedAway is what a router that drains answers.
const turnedAway = "HTTP/1.1 503"

func (f *forward) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong++
}

// refused is how many conns went to a router that took none any more.
func (f *forward) refused() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wrong
}

func (p *pod) String() string { return fmt.Sprint(p.name, " at ", p.ip) }
