package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Bounds of the port. It is for a few people and programs: what is above them
// is a mistake or an attack.
const (
	// MaxConns is how many conns are open at once. For a further one an idle
	// conn is closed; it waits while there is none.
	MaxConns = 64
	// MaxHead bounds a request's line and headers in bytes; net/http reads up
	// to 4 KiB more before it answers 431.
	MaxHead = 8 << 10
	// MaxBody bounds a request's body in bytes; above it the answer is 413.
	MaxBody = 64 << 10
	// HeadTimeout is how long a request's head may take, absolute.
	HeadTimeout = 5 * time.Second
	// ReadTimeout is how long a whole request may take.
	ReadTimeout = 10 * time.Second
	// WriteTimeout is how long an answer may take, from the end of the
	// request's head; profiles have their own duration on top, and a stream has
	// it for each piece that it sends.
	WriteTimeout = 15 * time.Second
	// IdleTimeout is how long a conn may wait between requests.
	IdleTimeout = 30 * time.Second
	// RoomTimeout is how long a question about a room may take.
	RoomTimeout = 5 * time.Second

	// ChangeTimeout is how long a change may take.
	ChangeTimeout = 10 * time.Second

	// MaxStreams is how many streams of events are open at once; a further one
	// gets 503. It is far below MaxConns: streams do not keep others out.
	MaxStreams = 16
	// StreamHeartbeat is after how long without an event a stream sends a
	// comment, so that a reader that is gone is noticed. A reader that takes
	// nothing for WriteTimeout is closed.
	StreamHeartbeat = 10 * time.Second

	// PeerTimeout is how long a peer may acknowledge nothing, where the system
	// lets one say so (Linux).
	PeerTimeout = 30 * time.Second

	// stopTimeout is how long answers under way may take once Run shall end.
	stopTimeout = 500 * time.Millisecond
)

// Server is the admin port of one node.
type Server struct {
	// Set by New, then only read.
	config  Config
	guard   *guard
	routes  map[string]*route // by whole path
	below   map[string]*route // by what comes before the last segment
	handler http.Handler
	log     *zap.Logger

	stats   stats
	streams chan struct{} // one token per open stream
}

// New checks the config and builds the routes. It starts nothing.
func New(c Config) (*Server, error) {
	if err := CheckConfig(c); err != nil {
		return nil, err
	}
	if c.Source == nil {
		return nil, errors.New("admin: no source")
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	s := &Server{config: c, guard: newGuard(&c), log: c.Logger, streams: make(chan struct{}, MaxStreams)}
	if err := s.register(); err != nil {
		return nil, err
	}
	if err := c.Registry.Register(NewCollector(func() []Sample { return AppendStats(nil, "admin", &s.stats) })); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	s.routes = s.table()
	s.below = below(s.routes)
	s.handler = http.HandlerFunc(s.serve)
	return s, nil
}

// Handler is the port's whole handler, guards included, for who has a listener
// of their own. The bounds of conns, heads and times are Run's.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves ln until ctx ends, and closes it. When Run returns, every conn is
// closed and every request has ended. The error is nil when ctx ended it.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if a, ok := ln.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !s.config.guarded() {
		return openError("--admin " + a.String())
	}
	var conns sync.WaitGroup
	srv := s.http(ctx, &conns)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(limit(ln, MaxConns)) }()

	var err error
	select {
	case err = <-served:
		srv.Close()
	case <-ctx.Done():
		stop(srv)
		<-served
	}
	conns.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve admin port: %w", err)
}

// stop lets answers under way finish for a moment, then closes what is left.
func stop(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		srv.Close()
	}
}

func (s *Server) http(ctx context.Context, conns *sync.WaitGroup) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      s.handler,
		DisableGeneralOptionsHandler: true, // OPTIONS * passes the guards too
		Protocols:                    &protocols,
		ReadHeaderTimeout:            HeadTimeout,
		ReadTimeout:                  ReadTimeout,
		WriteTimeout:                 WriteTimeout,
		IdleTimeout:                  IdleTimeout,
		MaxHeaderBytes:               MaxHead,
		ErrorLog:                     complaints(s.log),
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext:                  withConn,
		ConnState: func(c net.Conn, state http.ConnState) {
			conn := c.(*limitedConn)
			conn.become(state)
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				if conn.odd {
					s.stats.Refused[refusedMalformed].Add(1)
				}
				conns.Done()
			}
		},
	}
}

// complaints makes our logger one of the standard library: net/http's own
// words become a field of one constant message.
func complaints(l *zap.Logger) *log.Logger { return log.New(complaint{l}, "", 0) }

type complaint struct{ log *zap.Logger }

func (c complaint) Write(b []byte) (int, error) {
	c.log.Warn("admin server complained", zap.ByteString("detail", bytes.TrimSpace(b)))
	return len(b), nil
}
