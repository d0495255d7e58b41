package node_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// tick is how late a deadline of a conn may be: times are rounded up to the
// wheel's quarter of a second.
const tick = 500 * time.Millisecond

// took checks how long something took since a time.
func took(t *testing.T, what string, since, at time.Time, least, most time.Duration) {
	t.Helper()
	if d := at.Sub(since); d < least || d > most+tick {
		t.Errorf("%s after %v, want %v to %v", what, d, least, most)
	}
}

func TestHandshakeTimeIsAbsolute(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		time.Sleep(time.Second)
		began := time.Now()
		slow, silent := w.dial("r1"), w.dial("r1")
		go slow.listen()
		go silent.listen()
		for i := 0; slow.lives(); i++ {
			slow.Write([]byte(rfc6455.Request("/ws?room=a")[i : i+1]))
			time.Sleep(time.Second)
		}
		took(t, "slow one closed", began, slow.closed(0, time.Second), 4750*time.Millisecond, 5250*time.Millisecond)
		took(t, "silent one closed", began, silent.closed(0, time.Second), 4750*time.Millisecond, 5250*time.Millisecond)
	})
}

func TestJoinWaitsForAnOwner(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.router("r1", router.Config{})
		began := time.Now()
		resp, body := w.request(clientIP, "r1", rfc6455.Request("/ws?room=a"))
		if resp.StatusCode != 503 || !strings.Contains(body, `"unavailable"`) || resp.Header.Get("Retry-After") == "" {
			t.Errorf("answer %s %v %q", resp.Status, resp.Header, body)
		}
		took(t, "answer", began, time.Now(), 10*time.Second, 11*time.Second)

		// One that comes before the shard is served when it is there.
		time.AfterFunc(5*time.Second, func() { w.shard("s1", 1, shard.Config{}) })
		m := w.join("r1", "room=a")
		m.say("x")
		m.hears("x")
	})
}

func TestPings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		w.agree(10 * time.Second) // a handshake waits for the founding, and its clock has begun by then
		began := time.Now()
		var holes []*member
		for range 8 {
			m := w.open("r1", "room=a")
			m.mute = true
			go m.listen()
			holes = append(holes, m)
		}
		m, talks := w.join("r1", "room=a"), w.open("r1", "room=b")
		talks.mute = true // what it says is as good as a pong
		go talks.listen()
		for range 60 {
			time.Sleep(7 * time.Second)
			talks.say("x")
		}
		for _, hole := range holes {
			took(t, "black hole closed", began, hole.closed(0, 0), 20*time.Second, 33*time.Second)
		}
		time.Sleep(53 * time.Minute)
		if !m.lives() || m.pings < 3600/33 || m.pings > 3600/25+1 {
			t.Errorf("after an hour: lives %v, heard %d pings", m.lives(), m.pings)
		}
		if talks.closed(0, 0).Sub(began) < 7*time.Minute || talks.pings > 1 {
			t.Errorf("who talked heard %d pings and was closed after %v", talks.pings, talks.over.Sub(began))
		}
	})
}

func TestMessageTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		began := time.Now()
		stuck, trickles, done := w.join("r1", "room=a"), w.join("r1", "room=a"), w.join("r1", "room=b")
		frame := rfc6455.Frame(finText, strings.Repeat("x", 100))
		stuck.send(frame[:20])
		done.send(frame[:20])
		for i := 0; trickles.lives(); i++ {
			if i == 9 {
				done.send(frame[20:])
			}
			trickles.Write(frame[i : i+1])
			time.Sleep(time.Second)
		}
		took(t, "stuck one closed", began, stuck.closed(1008, time.Second), 10*time.Second, 11*time.Second)
		took(t, "trickling one closed", began, trickles.closed(1008, time.Second), 10*time.Second, 11*time.Second)
		time.Sleep(time.Minute)
		if done.hears(strings.Repeat("x", 100)); !done.lives() {
			t.Error("a message in good time ended its conn")
		}
	})
}

// A reader that stalls gets 4008 when it falls off the tail, or takes nothing
// for 30 s. The others get everything.
func TestStalledReader(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.shard("s1", 1, shard.Config{})
		w.router("r1", router.Config{Window: 1 << 20})
		flood := func(room string, size int) (stalled *member, want []string) {
			t.Helper()
			stalled = w.open("r1", "room="+room)
			speaker, listener := w.join("r1", "room="+room+"&echo=0"), w.join("r1", "room="+room)
			for i := range size >> 14 {
				want = append(want, fmt.Sprint(i, strings.Repeat("x", 1<<14)))
				speaker.say(want[i])
			}
			synctest.Wait()
			if got := len(listener.take()); got != len(want) {
				t.Errorf("listener heard %d messages, want %d", got, len(want))
			}
			return stalled, want
		}
		// It hears whole messages up to where it fell behind, then the close.
		check := func(m *member, sent []string) {
			t.Helper()
			go m.listen()
			m.closed(4008, time.Second)
			heard := m.take()
			if len(heard) == 0 || len(heard) >= len(sent) {
				t.Errorf("stalled one heard %d of %d messages", len(heard), len(sent))
			}
			m.heard = heard
			m.hears(sent[:len(heard)]...)
		}
		far, sent := flood("far", 3<<20)
		check(far, sent)
		long, sent := flood("long", 512<<10)
		time.Sleep(29 * time.Second)
		if doc := w.room("s1", "long"); doc.Members != 3 {
			t.Errorf("after 29 s: %d members", doc.Members)
		}
		time.Sleep(2 * time.Second)
		check(long, sent)

		// One that never takes a byte is gone all the same.
		gone, _ := flood("gone", 512<<10)
		time.Sleep(35 * time.Second)
		if _, err := gone.Write([]byte("x")); err == nil {
			t.Error("a conn that takes nothing is still open")
		}
		// And one that took its time catches up.
		late, sent := flood("late", 512<<10)
		time.Sleep(20 * time.Second)
		go late.listen()
		synctest.Wait()
		late.hears(sent...)
	})
}

// A pong that is due while a frame is half written comes behind it, and then
// the messages go on.
func TestPongInsideAFrame(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		for _, query := range []string{"room=a", "room=a&echo=0"} {
			slow, speaker := w.open("r1", query), w.join("r1", "room=a&echo=0")
			var want []string
			for i := range 10 {
				want = append(want, fmt.Sprint(i, strings.Repeat("x", 50_000)))
			}
			speaker.say(want...)
			for range 3 {
				slow.send(rfc6455.Frame(0x89, "are you there?"))
				synctest.Wait()
			}
			go slow.listen()
			synctest.Wait()
			speaker.say("later")
			slow.hears(append(want, "later")...)
			if slow.pongs != 3 {
				t.Errorf("%s: heard %d pongs, want 3", query, slow.pongs)
			}
			time.Sleep(time.Minute)
			if !slow.lives() {
				t.Errorf("%s: was closed", query)
			}
		}
	})
}

// Above 64 unacknowledged messages a conn is not read; the network pushes back.
// Nothing is lost by it.
func TestBackPressure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		speaker, listener := w.join("r1", "room=a&echo=0"), w.join("r1", "room=a")
		w.cut("s1")
		var want []string
		sent := make(chan int, 1000)
		for i := range 400 {
			want = append(want, fmt.Sprint(i, strings.Repeat("x", 1<<10)))
		}
		go func() {
			for i, text := range want {
				speaker.Write(rfc6455.Frame(finText, text))
				sent <- i
			}
		}()
		time.Sleep(55 * time.Second) // nor can its pong be heard, so that is not missed
		// 64 in the router, the rest in its read buffer and the network.
		if n := len(sent); n < 64+60 || n > 64+80 {
			t.Errorf("%d messages went through without an acknowledgement", n)
		}
		w.heal("s1")
		time.Sleep(5 * time.Second)
		listener.hears(want...)
		if !speaker.lives() {
			t.Error("who was pushed back was closed")
		}
	})
}

// What was said before a half-close is published, even when the conn was
// pushed back.
func TestHalfClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		listener := w.join("r1", "room=a")
		m := w.dial("r1")
		bytes := []byte(rfc6455.Request("/ws?room=a&echo=0"))
		want := numbers("m", 1, 300)
		for _, text := range want {
			bytes = append(bytes, rfc6455.Frame(finText, text)...)
		}
		m.send(bytes)
		m.CloseWrite()
		synctest.Wait()
		listener.hears(want...)
		if resp := m.response(); resp.StatusCode != 101 {
			t.Errorf("answer %s", resp.Status)
		}
		go m.listen()
		m.closed(0, time.Second)
	})
}

func TestMaxConns(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 0)
		w.router("r1", router.Config{MaxConns: 3})
		var members []*member
		for range 3 {
			members = append(members, w.join("r1", "room=a"))
		}
		for range 5 {
			w.refused(clientIP, 503, "full")
		}
		members[0].Close()
		synctest.Wait()
		w.join("r1", "room=a")
		w.refused(clientIP, 503, "full")
	})
}

// refused checks the answer to a handshake.
func (w *world) refused(ip string, status int, code string, changes ...string) {
	w.t.Helper()
	resp, body := w.request(ip, "r1", rfc6455.Request("/ws?room=a", changes...))
	if resp.StatusCode != status || !strings.Contains(body, fmt.Sprintf(`"code":%q`, code)) {
		w.t.Errorf("from %s with %q: %s %q, want %d %s", ip, changes, resp.Status, body, status, code)
	}
	if (status == 429 || status == 503) && resp.Header.Get("Retry-After") == "" {
		w.t.Errorf("%d without Retry-After", status)
	}
}

// admitted checks that a handshake from an address passes, and keeps it open.
func (w *world) admitted(ip string, changes ...string) *member {
	w.t.Helper()
	m := w.dialFrom(ip, "r1")
	m.send([]byte(rfc6455.Request("/ws?room=a", changes...)))
	if resp := m.response(); resp.StatusCode != 101 {
		w.t.Errorf("from %s with %q: %s", ip, changes, resp.Status)
	}
	return m
}

func TestConnsPerAddress(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 0)
		w.router("r1", router.Config{MaxConnsPerIP: 2})
		first := w.admitted("10.0.2.1")
		w.admitted("10.0.2.1", "+X-Forwarded-For: 1.1.1.1")
		w.refused("10.0.2.1", 429, "rate_limited")
		w.refused("10.0.2.1", 429, "rate_limited", "+X-Forwarded-For: 9.9.9.9") // forged
		w.admitted("10.0.2.2")
		first.Close()
		synctest.Wait()
		w.admitted("10.0.2.1")
		w.refused("10.0.2.1", 429, "rate_limited")
	})
}

func TestConnsPerAddressBehindAProxy(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 0)
		w.router("r1", router.Config{MaxConnsPerIP: 1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}})
		const proxy = "10.0.9.1"
		w.admitted(proxy, "+X-Forwarded-For: 1.1.1.1")
		w.admitted(proxy, "+X-Forwarded-For: 2.2.2.2")
		w.refused(proxy, 429, "rate_limited", "+X-Forwarded-For: 1.1.1.1")
		// What a client puts in front of what the proxy adds counts for nothing.
		w.refused(proxy, 429, "rate_limited", "+X-Forwarded-For: 3.3.3.3, 1.1.1.1")
		w.refused(proxy, 429, "rate_limited", "+X-Forwarded-For: 3.3.3.3, 1.1.1.1, 10.0.9.2")
		// Nor does it from somebody who is no proxy.
		w.admitted("10.0.2.1", "+X-Forwarded-For: 4.4.4.4")
		w.refused("10.0.2.1", 429, "rate_limited", "+X-Forwarded-For: 5.5.5.5")
	})
}

func TestAcceptsPerAddress(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 0)
		w.router("r1", router.Config{AcceptsPerIP: 5})
		w.admitted("10.0.2.9") // the Table is there
		for range 5 {
			w.admitted("10.0.2.1").Close()
		}
		w.refused("10.0.2.1", 429, "rate_limited")
		w.admitted("10.0.2.2")
		time.Sleep(time.Second)
		w.admitted("10.0.2.1")
	})
}

func TestOrigins(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 0)
		w.router("r1", router.Config{
			AllowOrigin:    []string{"https://app.example.org"},
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")},
		})
		w.admitted(clientIP)
		w.admitted(clientIP, "+Origin: http://example.com")
		w.admitted(clientIP, "+Origin: http://example.com:80")
		w.admitted(clientIP, "+Origin: https://app.example.org")
		w.refused(clientIP, 403, "forbidden_origin", "+Origin: http://evil.example")
		w.refused(clientIP, 403, "forbidden_origin", "+Origin: https://example.com")
		w.refused(clientIP, 403, "forbidden_origin", "+Origin: http://example.com:8080")
		w.refused(clientIP, 403, "forbidden_origin", "+Origin: null")
		// The scheme is what a trusted proxy says, and nobody else.
		w.refused(clientIP, 403, "forbidden_origin", "+Origin: https://example.com", "+X-Forwarded-Proto: https")
		w.admitted("10.0.9.1", "+Origin: https://example.com", "+X-Forwarded-Proto: https")
		w.refused("10.0.9.1", 403, "forbidden_origin", "+Origin: http://example.com", "+X-Forwarded-Proto: https")
		resp, body := w.request(clientIP, "r1", "GET /healthz HTTP/1.1\r\nHost: example.com\r\nOrigin: http://evil.example\r\n\r\n")
		if resp.StatusCode != 403 {
			t.Errorf("healthz for a foreign page: %s %q", resp.Status, body)
		}
	})
}

func TestPlainHTTP(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		page := strings.Repeat("<p>two tabs talk</p>", 20_000) // more than all buffers
		w.router("r1", router.Config{
			LocalHost: true,
			Pages:     map[string]router.Page{"/": {Type: "text/html", Body: []byte(page), CSP: "default-src 'self'"}},
		})
		get := func(line, host string) (int, string, http.Header) {
			t.Helper()
			resp, body := w.request(clientIP, "r1", line+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if !resp.Close {
				t.Errorf("%s: not closed", line)
			}
			return resp.StatusCode, body, resp.Header
		}
		if status, body, _ := get("GET /healthz", "localhost:8000"); status != 503 || body != "{\"status\":\"no_links\"}\n" {
			t.Errorf("healthz without a shard: %d %q", status, body)
		}
		w.shard("s1", 1, shard.Config{})
		time.Sleep(5 * time.Second)
		if status, body, _ := get("GET /healthz", "127.0.0.1"); status != 200 || body != "{\"status\":\"ok\"}\n" {
			t.Errorf("healthz: %d %q", status, body)
		}
		if status, body, head := get("GET /", "[::1]:8000"); status != 200 || body != page || head.Get("Content-Security-Policy") != "default-src 'self'" {
			t.Errorf("page: %d, %d bytes, %v", status, len(body), head)
		}
		for _, bad := range []struct {
			line, host, code string
			status           int
		}{
			{"GET /nothing", "localhost", "not_found", 404},
			{"POST /healthz", "localhost", "method_not_allowed", 405},
			{"DELETE /", "localhost", "method_not_allowed", 405},
			{"GET /", "rebound.example", "forbidden", 403},
			{"GET /healthz", "localhost.evil.example:8000", "forbidden", 403},
		} {
			status, body, head := get(bad.line, bad.host)
			if status != bad.status || head.Get("Content-Type") != "application/json" || !strings.HasPrefix(body, `{"error":{"code":"`+bad.code) {
				t.Errorf("%s at %s: %d %q", bad.line, bad.host, status, body)
			}
		}
		// Half-closing clients get all of it too.
		m := w.dial("r1")
		m.send([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		m.CloseWrite()
		synctest.Wait()
		if body, err := io.ReadAll(m.response().Body); err != nil || string(body) != page {
			t.Errorf("page for a client that half-closed: %d bytes, %v", len(body), err)
		}
	})
}

// Behind our last words only so much is read and thrown away: who shouts on is
// pushed back until the port closes.
func TestShoutingAfterTheEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 1)
		c := w.dial("r1")
		c.Write([]byte("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"))
		if n, err := c.Write(make([]byte, 16<<20)); err == nil || n > 1<<20 {
			t.Errorf("%d bytes were taken after the answer, %v", n, err)
		}
	})
}
