package proxynet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// Where processes find the proxy. Address and port are always the same: a
// process may write them somewhere, and its output should not differ from one
// build to the next. The address is not one of 127.0.0.0/8, so that a process
// may use all ports of localhost.
const (
	proxyHost = "10.89.0.1"
	proxyPort = "31280"
)

const (
	// grace is how long answers under way may take after the container ended.
	grace = 2 * time.Second
	// headerTime bounds how long a client takes to send a request's header.
	headerTime = 30 * time.Second
)

// session is one proxy with a namespace around it; it is an
// executor.ProxiedNetwork.
type session struct {
	path      string
	out       executor.Network
	gate      executor.Gate
	authority *authority
	record    record
	transport *http.Transport
	quiet     *log.Logger

	outer, inner *http.Server
	tunnels      *tunnels
	servers      sync.WaitGroup

	mu     sync.Mutex
	ended  bool
	active sync.WaitGroup
}

// newSession makes the namespace and starts the proxy.
func newSession(ctx context.Context, path string, out executor.Network, gate executor.Gate) (*session, error) {
	s := &session{path: path, out: out, gate: gate, quiet: log.New(io.Discard, "", 0)}
	var err error
	if s.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	if err := netns.Create(path); err != nil {
		return nil, err
	}
	ln, err := s.listen(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start proxy: %w", err), netns.Remove(path))
	}
	s.transport = &http.Transport{
		DialContext: out.DialContext, DisableCompression: true, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: handshakeTime, IdleConnTimeout: headerTime,
	}
	// The build's context may end before the container does.
	base := context.WithoutCancel(ctx)
	s.tunnels = newTunnels(ln.Addr())
	s.outer = &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: headerTime, ErrorLog: s.quiet,
		BaseContext: func(net.Listener) context.Context { return base },
	}
	s.inner = &http.Server{
		Handler: http.HandlerFunc(s.forward), ReadHeaderTimeout: headerTime, ErrorLog: s.quiet,
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, tunnelKey{}, c) },
	}
	s.servers.Go(func() { _ = s.outer.Serve(ln) })
	s.servers.Go(func() { _ = s.inner.Serve(s.tunnels) })
	return s, nil
}

// listen opens the proxy's port inside the namespace.
func (s *session) listen(ctx context.Context) (net.Listener, error) {
	err := netns.At(s.path, func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(proxyHost), Mask: net.CIDRMask(32, 32)}})
	})
	if err != nil {
		return nil, err
	}
	var ln net.Listener
	err = netns.Do(s.path, func() (err error) {
		var lc net.ListenConfig
		ln, err = lc.Listen(ctx, "tcp4", net.JoinHostPort(proxyHost, proxyPort))
		return err
	})
	return ln, err
}

// Path is the file of the namespace.
func (s *session) Path() string { return s.path }

// Env names the proxy in all the ways that programs look for it. What is on
// the container's own loopback is reached directly.
func (s *session) Env() []string {
	const proxy, local = "http://" + proxyHost + ":" + proxyPort, "127.0.0.1,localhost,::1"
	return []string{
		"HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy, "http_proxy=" + proxy, "https_proxy=" + proxy,
		"NO_PROXY=" + local, "no_proxy=" + local,
	}
}

// CA is the authority's certificate.
func (s *session) CA() []byte { return s.authority.pem }

// begin notes that a request is being answered, unless the session is over.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.active.Add(1)
	return true
}

// Close ends the session.
func (s *session) Close(ctx context.Context) (solver.Traffic, error) {
	waiting, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	// The processes are gone, and with them the other ends of all connections.
	_ = s.outer.Shutdown(waiting)
	_ = s.inner.Shutdown(waiting)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	err := errors.Join(s.outer.Close(), s.inner.Close())
	s.servers.Wait()
	// Closed connections end their requests' contexts and so what is under way.
	s.active.Wait()
	s.transport.CloseIdleConnections()
	err = errors.Join(err, netns.Remove(s.path), s.out.Release(ctx, false))
	if err != nil {
		err = fmt.Errorf("end proxy: %w", err)
	}
	return s.record.result(), err
}
