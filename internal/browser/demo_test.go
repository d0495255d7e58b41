package browser

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDemo breaks the cluster of roomring dev by its page's buttons.
func TestDemo(t *testing.T) {
	if !*browse {
		t.Skip("no -browser: Chromium is not asked for (make browser)")
	}
	port, end := demonstration(t)
	page := fmt.Sprintf("http://127.0.0.1:%d", port)
	command := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { end() }))
	t.Cleanup(command.Close)
	script(t, "demo.mjs", map[string]any{
		"page": page, "other": fmt.Sprintf("http://127.0.0.1:%d", port+10), "control": "http://127.0.0.1:" + controlPort(t, page), "end": command.URL,
	})
}

// demonstration runs roomring dev at free ports. end interrupts it, and waits until it has ended.
func demonstration(t *testing.T) (port int, end func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "roomring")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/roomring").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	port = freePorts(t)
	dev := exec.Command(program, "dev", "--port", strconv.Itoa(port))
	dev.Stderr = os.Stderr
	out, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	up := make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewReader(out)
		first, _ := lines.ReadString('\n')
		up <- strings.Contains(first, "are up")
		_, _ = io.Copy(io.Discard, lines)
		if err := dev.Wait(); err != nil {
			t.Errorf("roomring dev: %v", err)
		}
	}()
	end = sync.OnceFunc(func() {
		_ = dev.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("roomring dev does not end")
			_ = dev.Process.Kill()
			<-ended
		}
	})
	t.Cleanup(end)
	select {
	case ok := <-up:
		if !ok {
			t.Fatal("roomring dev does not start")
		}
	case <-time.After(patience):
		t.Fatal("roomring dev is not up in time")
	}
	return port, end
}

// freePorts finds a port of which dev's other ones, beside it and ten above, are free too.
func freePorts(t *testing.T) int {
	t.Helper()
	for port := 29_100; port < 29_900; port += 20 {
		var errs []error
		for _, p := range []int{port, port + 1, port + 10, port + 11} {
			ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p))
			if err == nil {
				err = ln.Close()
			}
			errs = append(errs, err)
		}
		if errors.Join(errs...) == nil {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

// controlPort is where the page finds what acts on shards.
func controlPort(t *testing.T, page string) string {
	t.Helper()
	answer, err := http.Get(page + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	html, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`name="control-port" content="(\d+)"`).FindSubmatch(html)
	if found == nil {
		t.Fatal("the page names no control port")
	}
	return string(found[1])
}
