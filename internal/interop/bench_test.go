package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"testing"
)

// TestBench has our own load generator, which brings its own client, find no fault.
func TestBench(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"fanout", "--members", "60", "--publishers", "6", "--warm", "200ms", "--for", "1s"},
		{"fanout", "--members", "20", "--publishers", "4", "--others-only", "--binary", "--size", "4096", "--warm", "200ms", "--for", "500ms"},
		{"rooms", "--rooms", "40", "--rate", "4000", "--warm", "200ms", "--for", "1s"},
		{"idle", "--rooms", "20", "--members", "10", "--for", "500ms"},
	} {
		bench(t, args)
	}
}

func bench(t *testing.T, args []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	query := ""
	for _, a := range args {
		if a == "--others-only" {
			query = "&echo=0"
		}
	}
	full := append([]string{"bench"}, args...)
	for _, r := range routers {
		full = append(full, "--url", "ws://"+r+"/ws?room={room}"+query)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(full, "--json")...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("roomring %q: %v\n%s%s", full, err, out, &stderr)
	}
	var report struct {
		Conns, Members, Rooms, Publishers         int
		Published, Delivered                      uint64
		Lost, Doubled, Reordered, Foreign, Unsent uint64
		Disagree                                  int
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("roomring %q: %v\n%s", full, err, out)
	}
	if report.Conns != report.Rooms*report.Members || report.Publishers > 0 && report.Delivered == 0 {
		t.Errorf("roomring %q did too little:\n%s", full, out)
	}
	if report.Lost+report.Doubled+report.Reordered+report.Foreign > 0 || report.Disagree > 0 {
		t.Errorf("roomring %q found faults:\n%s", full, out)
	}
}
