//go:build linux

package main

import (
	"os"
	"reflect"
	"testing"
	"time"
)

func TestProcessTimes(t *testing.T) {
	const line = "17 (a) b (c) S 1 4711 17 0 -1 4194560 1 2 3 4 250 150 7 8 20 0 1 0 99 1 2 3\n"
	group, cpu, ok := processTimes([]byte(line))
	if !ok || group != 4711 || cpu != 4*time.Second {
		t.Errorf("group %d, %s, %v; want 4711 and 4 s", group, cpu, ok)
	}
	for _, bad := range []string{"", "17", "17 (x) S 1 2", "17 (x) S 1 y 17 0 -1 4194560 1 2 3 4 250 150 7 8"} {
		if _, _, ok := processTimes([]byte(bad)); ok {
			t.Errorf("%q is taken for a process", bad)
		}
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := processTimes(text); !ok {
		t.Errorf("this process is not understood: %q", text)
	}
}

func TestMachineTimes(t *testing.T) {
	busy, stolen := machineTimes("cpu  100 10 200 5000 300 40 50 60 70 80\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if busy != 4*time.Second || stolen != 600*time.Millisecond {
		t.Errorf("busy %s, stolen %s; want 4 s and 0.6 s", busy, stolen)
	}
}

func TestSpent(t *testing.T) {
	var m measurement
	before := used{servers: map[string]time.Duration{"a": time.Second}}
	after := used{servers: map[string]time.Duration{"a": 1750 * time.Millisecond, "b": 250 * time.Millisecond},
		load: time.Second / 2, busy: 1700 * time.Millisecond, stolen: time.Second / 5}
	m.spent(before, after, 2*time.Second, 100_000)
	want := measurement{Seconds: 2, Deliveries: 100_000, PerSecond: 50_000, CPU: 10, Processes: map[string]float64{"a": 7.5, "b": 2.5},
		ServerCores: 0.5, LoadCores: 0.25, OtherCores: 0.1, StolenCores: 0.1}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("%+v\nwant %+v", m, want)
	}
	if !m.noisy() {
		t.Error("0.2 cores are no noise")
	}
}
