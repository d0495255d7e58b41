//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp4", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	return conn
}

// testEndlessHeader sends one header line of 64 MiB, a few times.
func testEndlessHeader(t *testing.T) {
	const times = 4
	r, _ := pair(t, nil, nil)
	endlessHeader(t, r) // what a first conn costs is no news
	r.heap(t)
	_, warm := r.heap(t)
	live, before := r.heap(t)
	perLook := before - warm
	began, took, status := time.Now(), 0, 0
	for range times {
		status, took = endlessHeader(t, r)
	}
	after, total := r.heap(t)
	moved, allocated := (after-live)/times, (total-before-perLook)/times
	t.Logf("answered %d; the kernel took %s each in %s; live heap moved by %d KB each, allocated %d KB", status, mega(int64(took)), millis(time.Since(began)/times), moved/1024, allocated/1024)
	// What was allocated is told, not judged: gossip does so too while we wait.
	if status != 431 || moved > 64<<10 || took > 16<<20 {
		t.Error("want 431, less than 64 KB, and that not all of it was read")
	}
}

// endlessHeader returns the answer and how many bytes the other side took.
func endlessHeader(t *testing.T, r *node) (status, sent int) {
	t.Helper()
	conn := connect(t, r.listen)
	defer conn.Close()
	answered := make(chan int, 1)
	go func() {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			answered <- 0
			return
		}
		answered <- answer.StatusCode
	}()
	sent, _ = io.WriteString(conn, "GET /ws?room=x HTTP/1.1\r\nHost: x\r\nX-Long: ")
	chunk := bytes.Repeat([]byte("a"), 64<<10)
	for sent < 64<<20 {
		n, err := conn.Write(chunk)
		sent += n
		if err != nil {
			break
		}
	}
	return <-answered, sent
}

// testSlowHandshakes has 5,000 conns send a byte per second while others come in.
func testSlowHandshakes(t *testing.T) {
	const slow = 5000
	r, _ := pair(t, nil, nil)
	var gone sync.WaitGroup
	ages := make([]time.Duration, slow)
	conns := make([]net.Conn, slow)
	for i := range slow {
		conns[i] = connect(t, r.listen)
		began := time.Now()
		gone.Go(func() {
			io.Copy(io.Discard, conns[i])
			ages[i] = time.Since(began)
		})
	}
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		request := fmt.Sprintf(upgradeRequest, "slow")
		for k := 0; ; k++ {
			for _, conn := range conns {
				conn.Write([]byte{request[k%len(request)]}) // those that are gone do not matter
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	var times []time.Duration
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 150 {
		<-tick.C
		began := time.Now()
		conn, err := handshake(r.listen, "room=quick")
		if err != nil {
			t.Fatalf("a new client: %v", err)
		}
		times = append(times, time.Since(began))
		conn.Close()
	}
	gone.Wait()
	close(stop)
	feeding.Wait()
	slices.Sort(times)
	slices.Sort(ages)
	t.Logf("%d slow handshakes: new clients upgrade in %s (median), %s (p99), %s (longest); the slow ones were gone after %.2f to %.2f s",
		slow, millis(times[len(times)/2]), millis(times[len(times)*99/100]), millis(times[len(times)-1]), ages[0].Seconds(), ages[slow-1].Seconds())
	if times[len(times)*9/10] > 100*time.Millisecond {
		t.Error("nine of ten new clients should upgrade within 100 ms")
	}
	if ages[0] < 4*time.Second || ages[slow-1] > 8*time.Second {
		t.Error("the slow ones should be gone after 5 to 6 s")
	}
}

// upgrade opens a WebSocket and gives the bare socket.
func upgrade(t *testing.T, address, room string) net.Conn {
	t.Helper()
	conn := connect(t, address)
	fmt.Fprintf(conn, upgradeRequest, room)
	if err := skipHead(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// waitClose reads frames until the close frame and returns its code, 0 without one.
func waitClose(conn net.Conn, within time.Duration) (code uint16) {
	conn.SetReadDeadline(time.Now().Add(within))
	for {
		h, err := ws.ReadHeader(conn)
		if err != nil {
			return 0
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return 0
		}
		if h.OpCode == ws.OpClose && len(payload) >= 2 {
			return binary.BigEndian.Uint16(payload)
		}
	}
}

// testEmptyFragments sends a message of a million empty fragments.
func testEmptyFragments(t *testing.T) {
	r, _ := pair(t, nil, nil)
	conn := upgrade(t, r.listen, "fragments")
	r.heap(t)
	_, warm := r.heap(t)
	live, before := r.heap(t)
	perLook := before - warm
	code := make(chan uint16, 1)
	go func() { code <- waitClose(conn, 20*time.Second) }()
	conn.Write([]byte{0x01, 0x80, 1, 2, 3, 4})
	fragments := bytes.Repeat([]byte{0x00, 0x80, 1, 2, 3, 4}, 10_000)
	sent := 0
	for range 100 {
		n, err := conn.Write(fragments)
		sent += n / 6
		if err != nil {
			break
		}
	}
	got := <-code
	after, total := r.heap(t)
	t.Logf("closed with %d; %d fragments were sent; live heap moved by %d KB, allocated %d KB", got, sent, (after-live)/1024, (total-before-perLook)/1024)
	if got != 1008 || after-live > 64<<10 {
		t.Error("want 1008 and less than 64 KB")
	}
}

// testEndlessMessage begins a message and never ends it, with a byte now and then.
func testEndlessMessage(t *testing.T) {
	r, _ := pair(t, nil, nil)
	conn := upgrade(t, r.listen, "endless")
	began := time.Now()
	conn.Write([]byte{0x01, 0x80, 0, 0, 0, 0})
	code := make(chan uint16, 1)
	go func() { code <- waitClose(conn, 30*time.Second) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			conn.Write([]byte{0x00, 0x81, 0, 0, 0, 0, 'x'})
			continue
		case got := <-code:
			took := time.Since(began)
			t.Logf("closed with %d after %.1f s", got, took.Seconds())
			if got != 1008 || took < 9*time.Second || took > 14*time.Second {
				t.Error("want 1008 after 10 s")
			}
		}
		return
	}
}

// testMaxConns fills a router.
func testMaxConns(t *testing.T) {
	r, _ := pair(t, []string{"--max-conns", "20"}, nil)
	for i := range 20 {
		dial(t, r.listen, fmt.Sprint("full", i))
	}
	for range 5 {
		status, header := rawRequest(connect(t, r.listen), fmt.Sprintf(upgradeRequest, "more"))
		if status != 503 || header.Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q, want 503 with it", status, header.Get("Retry-After"))
		}
	}
	if m := r.metrics(t); m["roomring_router_upgraded_total"] != 20 {
		t.Errorf("upgraded: %v", m["roomring_router_upgraded_total"])
	}
	t.Log("20 conns were let in, 5 more got 503 with Retry-After")
}

// forwarded is an upgrade that claims to be for another client.
func forwarded(room, from string) string {
	return strings.Replace(fmt.Sprintf(upgradeRequest, room), "\r\n\r\n", "\r\nX-Forwarded-For: "+from+"\r\n\r\n", 1)
}

// tryAll does n upgrades, each claiming another client when forge is set, and counts the answers.
func tryAll(t *testing.T, address string, n int, forge bool) map[int]int {
	t.Helper()
	answers := map[int]int{}
	for i := range n {
		request := fmt.Sprintf(upgradeRequest, "limits")
		if forge {
			request = forwarded("limits", fmt.Sprintf("10.1.2.%d", i+1))
		}
		status, header := rawRequest(connect(t, address), request)
		if status == 429 && header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		answers[status]++
	}
	return answers
}

func testConnsPerAddress(t *testing.T) {
	r, _ := pair(t, []string{"--max-conns-per-ip", "5"}, nil)
	strict := tryAll(t, r.listen, 15, true)
	trusting, _ := pair(t, []string{"--max-conns-per-ip", "5", "--trusted-proxies", "127.0.0.0/8"}, nil)
	spread := tryAll(t, trusting.listen, 15, true)
	one := tryAll(t, trusting.listen, 15, false)
	t.Logf("15 conns of one address that forge X-Forwarded-For: %v; behind a trusted proxy, 15 addresses: %v, and one address: %v", strict, spread, one)
	if strict[101] != 5 || strict[429] != 10 || spread[101] != 15 || one[101] != 5 {
		t.Error("want 5 of 15, 15 of 15 and 5 of 15")
	}
}

func testAcceptsPerAddress(t *testing.T) {
	r, _ := pair(t, []string{"--accepts-per-ip", "5"}, nil)
	began := time.Now()
	strict := tryAll(t, r.listen, 30, true)
	took := time.Since(began)
	trusting, _ := pair(t, []string{"--accepts-per-ip", "5", "--trusted-proxies", "127.0.0.0/8"}, nil)
	spread := tryAll(t, trusting.listen, 30, true)
	t.Logf("30 conns of one address in %s: %v; behind a trusted proxy, of 30 addresses: %v", millis(took), strict, spread)
	if most := 5 + int(5*took.Seconds()) + 1; strict[101] < 5 || strict[101] > most || strict[429] != 30-strict[101] || spread[101] != 30 {
		t.Errorf("want 5 to %d of 30, and all", most)
	}
}
