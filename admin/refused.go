package admin

import (
	"net/http"
	"sync/atomic"

	"github.com/roomring/roomring/proto"
)

// stats counts what the port is asked, and what it refuses.
type stats struct {
	Requests atomic.Uint64 `help:"Requests to the admin port that could be read, refused ones too."`
	Panics   atomic.Uint64 `help:"Requests to the admin port that ended in a panic, which was contained."`
	Streams  atomic.Int64  `metric:"gauge" help:"Streams of events that the admin port has open."`
	Events   atomic.Uint64 `help:"Events that the admin port wrote to its streams."`

	Refused [reasons]atomic.Uint64 `label:"reason" labels:"token,origin,host,path,method,body,query,full,malformed,state,unavailable,internal" help:"Requests that the admin port refused, by reason."`
}

// reason is why a request was refused; its name is in the labels of Refused.
type reason uint8

const (
	refusedToken       reason = iota // none, a wrong one, or one that may only read
	refusedOrigin                    // a page of another site
	refusedHost                      // a name that is not this port's
	refusedPath                      // there is no such path
	refusedMethod                    // the path does not take it
	refusedBody                      // too large, of another type, or not understood
	refusedQuery                     // not understood, or out of bounds
	refusedFull                      // a bound on what is served at once
	refusedMalformed                 // no HTTP, too large, or too slow: net/http answered it
	refusedState                     // understood, but the cluster is not so: no such room, not a dead node
	refusedUnavailable               // who knows did not answer
	refusedInternal                  // our own fault
	reasons                          // how many there are
)

// reasonOf is why f refuses a request that has not passed admit yet.
func reasonOf(f *Refusal) reason {
	switch {
	case f == errPath:
		return refusedPath
	case f == errHost:
		return refusedHost
	case f == errOrigin:
		return refusedOrigin
	case f == errToken, f == errAccess, f == errPayload:
		return refusedToken
	case f == errMethod:
		return refusedMethod
	case f == errBody, f == errType, f == errCut, f == errObject:
		return refusedBody
	case f.Code == proto.Full.String():
		return refusedFull
	}
	return reasonOfStatus(f.Status)
}

// reasonOfStatus is why an answer was refused of which no more is known.
func reasonOfStatus(status int) reason {
	switch status {
	case http.StatusBadRequest:
		return refusedQuery
	case http.StatusServiceUnavailable:
		return refusedUnavailable
	case http.StatusInternalServerError:
		return refusedInternal
	}
	return refusedState
}

// refuse counts f, which a route answers r with. What a change is told is in
// its body.
func (s *stats) refuse(r *http.Request, f *Refusal) {
	why := reasonOf(f)
	if why == refusedQuery && r.Method == http.MethodPost {
		why = refusedBody
	}
	s.Refused[why].Add(1)
}
