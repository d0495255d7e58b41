package demo

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/admin"
)

// Bounds of the port, beside those that package admin has for its own.
const (
	// maxBody bounds a request's body in bytes: the name of a shard.
	maxBody = 1 << 10
	// maxStreams is how many pages hear of events at once; further ones are told to come back.
	maxStreams = 16
	// maxRooms is how many rooms one request asks after.
	maxRooms = 32
	// stopTime is how long answers under way may take once Run shall end.
	stopTime = 200 * time.Millisecond
)

// Server is the port that the page talks to.
type Server struct {
	// Set by NewServer, then only read.
	cluster *Cluster
	origins []string
	log     *zap.Logger
	routes  map[string]route
	streams chan struct{} // holds a token per stream
	client  *http.Client  // asks routers on this machine
}

// NewServer lets pages of these origins see the cluster and act on its shards. It starts nothing.
func NewServer(c *Cluster, origins []string) *Server {
	s := &Server{cluster: c, origins: origins, log: c.cfg.Logger, streams: make(chan struct{}, maxStreams),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}} // no proxy: these are our own nodes
	s.routes = s.table()
	return s
}

// Run serves ln, which must be on loopback, until ctx ends, and closes it. When it returns, every request
// has ended.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	var conns sync.WaitGroup
	srv := s.http(ctx, &conns)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(limit(ln, admin.MaxConns)) }()
	var err error
	select {
	case err = <-served:
		srv.Close()
	case <-ctx.Done():
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if srv.Shutdown(short) != nil {
			srv.Close()
		}
		<-served
	}
	conns.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) http(ctx context.Context, conns *sync.WaitGroup) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	complaints, _ := zap.NewStdLogAt(s.log, zap.WarnLevel) // the level is one
	return &http.Server{
		Handler:                      s,
		DisableGeneralOptionsHandler: true,
		Protocols:                    &protocols,
		ReadHeaderTimeout:            admin.HeadTimeout,
		ReadTimeout:                  admin.ReadTimeout,
		WriteTimeout:                 admin.WriteTimeout,
		IdleTimeout:                  admin.IdleTimeout,
		MaxHeaderBytes:               admin.MaxHead,
		ErrorLog:                     complaints,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
	}
}

// limited is a listener that has at most cap(slots) conns open. The next one waits in the kernel until one
// closes, which the timeouts see to.
type limited struct {
	net.Listener
	slots chan struct{} // holds a token per open conn
	ended chan struct{} // closed by Close
	once  sync.Once
}

func limit(ln net.Listener, conns int) *limited {
	return &limited{Listener: ln, slots: make(chan struct{}, conns), ended: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.ended:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, slots: l.slots}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}
