package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/doctor"
)

func TestDoctorPrints(t *testing.T) {
	var b strings.Builder
	d := &diagnosis{Bad: 1, Warn: 1,
		Machine: []doctor.Finding{{Check: "descriptors", State: doctor.OK, Text: "20000 for a process started like this one: a router takes 19488 clients"},
			{Check: "swap", State: doctor.Warn, Text: "much", Mend: "sysctl -w vm.swappiness=1"}},
		Cluster: []doctor.Finding{{Check: "voters", State: doctor.Bad, Text: "none" + hostile, Mend: "start some"}, {Check: "clocks", State: doctor.Skipped, Text: "no"}}}
	if err := (&doctorCommand{asked: asked{Node: "127.0.0.1:8001"}}).print(screen{w: &b}, d); err != nil {
		t.Fatal(err)
	}
	golden(t, "doctor.txt", b.String())
	fits(t, b.String())
}

func TestDoctorAsksTheCluster(t *testing.T) {
	figures := figuresAnswer(t, 0, nil)
	node := newAnswering(t, map[string][]string{"/v1/ring": {ringAnswer}, "/v1/nodes": {figures}})
	out, errs, code := command(t.Context(), "doctor", "shard", "--json", "--node", node.address, "--", "--link=127.0.0.1:0", "--gossip=127.0.0.1:0", "--admin=127.0.0.1:0")
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != process.Failed || d.Bad == 0 || !strings.HasSuffix(errs, " found\n") {
		t.Errorf("code %d, %v, %s\n%s", code, err, errs, out)
	}
	if len(d.Machine) < 5 || len(d.Cluster) < 5 {
		t.Errorf("too few checks: %s", out)
	}
}

func TestDoctorWithoutACluster(t *testing.T) {
	address := refusing(t)
	free := []string{"--", "--link=127.0.0.1:0", "--gossip=127.0.0.1:0", "--admin=127.0.0.1:0"}
	if out, _, code := command(t.Context(), append([]string{"doctor", "shard", "--node", address}, free...)...); code != process.Failed || !strings.Contains(out, "bad      cluster") {
		t.Errorf("a node that was named does not answer: code %d\n%s", code, out)
	}
	c := &doctorCommand{asked: asked{Node: address}}
	found, err := c.cluster(&world{ctx: t.Context()})
	if err != nil || len(found) != 1 || found[0].State != doctor.Skipped || !strings.Contains(found[0].Text, "only this machine was checked") {
		t.Errorf("%v %v", found, err)
	}
	if out, _, code := command(t.Context(), append([]string{"doctor", "shard"}, append(free, "--followers=7")...)...); code != process.Failed || !strings.Contains(out, "bad      settings") {
		t.Errorf("settings that are refused: code %d\n%s", code, out)
	}
}
