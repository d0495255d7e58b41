//go:build linux

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// place is the answer to a publish.
type place struct {
	Epoch  string
	Offset uint64
}

// post publishes one message over HTTP.
func post(router, room, key, id, text string, within time.Duration) (status int, p place, err error) {
	request, err := http.NewRequest(http.MethodPost, "http://"+router+"/v1/rooms/"+room+"/messages", strings.NewReader(text))
	if err != nil {
		return 0, p, err
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	if id != "" {
		request.Header.Set("Idempotency-Key", id)
	}
	client := http.Client{Timeout: within, Transport: askClient.Transport}
	answer, err := client.Do(request)
	if err != nil {
		return 0, p, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &p)
	}
	return answer.StatusCode, p, err
}

// TestPublishAPI publishes over HTTP while the rooms' owner is killed. Who gives up and asks again with
// the same key gets the one message's place, and nobody hears it twice.
func TestPublishAPI(t *testing.T) {
	t.Parallel()
	const rooms = 6
	c := newCluster(t, 3, "s1", "s2", "s3", "r1", "r2")
	key := secret(rand.Text())
	c.routerFlags = []string{"--api-key", key}
	c.startAll("s1", "s2", "s3", "r1", "r2")
	routers := []string{c.nodes["r1"].listen, c.nodes["r2"].listen}
	checkPublishRefusals(t, routers[0], key)

	var members []*client
	for i := range rooms {
		members = append(members, dial(t, routers[i%2], fmt.Sprint("orders-", i)))
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	places := make([][]place, rooms) // of message i; each owned by its goroutine
	var retries atomic.Int64
	for i := range rooms {
		group.Go(func() {
			for n := 0; ; n++ {
				places[i] = append(places[i], insist(t, routers[(i+1)%2], members[i].room, key, fmt.Sprint(n), &retries))
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for _, m := range members {
		m.waitHeard(20, patience)
	}
	victim := c.nodes["r1"].owner(t, members[0].room)
	c.nodes[victim].signal(syscall.SIGSTOP) // another takes over too quickly to make anybody impatient
	before := retries.Load()
	eventually(t, "a request is made again", patience, func() bool { return retries.Load() > before })
	c.killAtOnce(victim)
	killed := time.Now()
	for _, m := range members {
		m.wait("message after the kill", patience, func() bool {
			return len(m.heard) > 0 && m.heard[len(m.heard)-1].when.After(killed.Add(500*time.Millisecond))
		})
	}
	close(stop)
	group.Wait()
	count := 0
	for i, m := range members {
		count += len(places[i])
		m.waitHeard(len(places[i]), patience)
		checkPlaces(t, m, places[i])
		if status, p, err := post(routers[(i+1)%2], m.room, key, m.room+"-0", "0", patience); status != http.StatusOK || err != nil || p != places[i][0] {
			t.Errorf("%s: the first message again: %d, %v, %v, want %v", m.room, status, p, err, places[i][0])
		}
		m.echo("last", patience)
		if heard := len(m.messages()); heard != len(places[i])+1 {
			t.Errorf("%s: %d messages, want %d", m.room, heard, len(places[i])+1)
		}
	}
	t.Logf("%s killed while %d messages were published over HTTP, %d of the requests again: each came once", victim, count, retries.Load())
}

// insist publishes with impatience until it is acknowledged, and counts how often it had to ask again.
func insist(t *testing.T, router, room, key, text string, again *atomic.Int64) (p place) {
	for began := time.Now(); time.Since(began) < patience; again.Add(1) {
		status, p, err := post(router, room, key, room+"-"+text, text, 100*time.Millisecond)
		if err == nil && status == http.StatusOK {
			return p
		}
		if err == nil && status < http.StatusInternalServerError && status != http.StatusConflict {
			t.Errorf("%s: message %s is answered %d", room, text, status)
		}
	}
	t.Errorf("%s: message %s is not acknowledged", room, text)
	return p
}

// checkPlaces checks that a member heard each message once, in order, where its publisher was told.
func checkPlaces(t *testing.T, m *client, places []place) {
	t.Helper()
	heard := m.messages()
	for i, p := range places {
		if h := heard[i]; h.text != fmt.Sprint(i) || h.offset != p.Offset || h.epoch != p.Epoch {
			t.Errorf("%s: at place %d is %q of %s.%d, want message %d of %s.%d", m.room, i, h.text, h.epoch, h.offset, i, p.Epoch, p.Offset)
			return
		}
	}
}

func checkPublishRefusals(t *testing.T, router, key string) {
	t.Helper()
	for _, test := range []struct {
		room, key, text string
		status          int
	}{
		{"lobby", "", "x", http.StatusUnauthorized},
		{"lobby", key + "x", "x", http.StatusUnauthorized},
		{"a%00b", key, "x", http.StatusBadRequest},
		{"lobby", key, strings.Repeat("x", 64<<10+1), http.StatusRequestEntityTooLarge},
	} {
		if status, _, err := post(router, test.room, test.key, "", test.text, patience); status != test.status {
			t.Errorf("publish of %d bytes in %q: status %d, %v, want %d", len(test.text), test.room, status, err, test.status)
		}
	}
}
