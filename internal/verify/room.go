package verify

import (
	"sync"
)

// room is a room of the run, with all its members.
type room struct {
	run     *run
	name    string
	members []*member // never changes

	mu      sync.Mutex // guards what is below
	judge   *judge
	judged  bool    // it is over
	turn    int     // who publishes next
	due     []int64 // messages that nobody could send yet; at most maxDue
	pauses  []int64 // by period: the longest time from when a message was due to a delivery, 0 for none
	payload []byte
}

// maxDue bounds the messages that wait for a member that can send, per room.
const maxDue = 4096

// publish sends what is due. It returns whether something waits.
func (r *room) publish(at int64) (waits bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.catchUp()
	if len(r.due) == 0 && r.sendNext(at) {
		return false
	}
	if len(r.due) == maxDue {
		r.run.unsent.Add(1)
		return true
	}
	r.due = append(r.due, at)
	return true
}

// retry sends what waits. It returns whether something still does.
func (r *room) retry() (waits bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.catchUp()
	return len(r.due) > 0
}

func (r *room) catchUp() {
	n := 0
	for n < len(r.due) && r.sendNext(r.due[n]) {
		n++
	}
	r.due = r.due[:copy(r.due, r.due[n:])]
}

// sendNext has the next member that can send a message; false when nobody can.
func (r *room) sendNext(at int64) bool {
	for range r.members {
		m := r.members[r.turn]
		r.turn = (r.turn + 1) % len(r.members)
		if !r.judge.ready(m.number) || m.socket.full() {
			continue
		}
		isBinary := m.number%2 == 1
		r.payload = r.judge.send(r.payload[:0], m.number, isBinary, at)
		m.socket.send(isBinary, r.payload)
		r.run.published.Add(1)
		return true
	}
	return false
}

// delivered notes how long a message took.
func (r *room) delivered(begins []int64, sent, now int64) {
	n := periodSent(begins, sent, now)
	for len(r.pauses) <= n {
		r.pauses = append(r.pauses, 0)
	}
	r.pauses[n] = max(r.pauses[n], now-sent, 1)
}

// silent tells whether a member with a socket has not heard where it is.
func (r *room) silent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.judge.followers {
		if r.judge.followers[i].opening {
			return true
		}
	}
	return false
}

// owing tells whether something is still to come.
func (r *room) owing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge.owing()
}

func (r *room) sweep(now int64) (missing uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge.sweep(now)
}
