package executor

import (
	"context"
	"net"

	"github.com/kilnbuild/kiln/solver"
)

// Networks gives containers networks of the kind that the builder is
// configured for.
//
// A scenario: before a container starts, its runtime asks for a Network, puts
// the container into the namespace at Path, and releases the Network when the
// container is gone; the next container may get the same one.
type Networks interface {
	// Sandbox returns a network for one container. The hostname is only given
	// if the container asks for one of its own: some networks tell others.
	Sandbox(ctx context.Context, hostname string) (Network, error)
}

// Network is what one container is in.
type Network interface {
	// Path is the file of the namespace; empty for the daemon's own network.
	Path() string
	// DialContext connects from inside, for a daemon that is outside.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Release gives the network back, once. A spoiled one may have been
	// changed by the processes in it and nobody gets it again.
	Release(ctx context.Context, spoiled bool) error
}

// Proxies gives containers networks with nothing in them but a proxy.
type Proxies interface {
	// Open starts a proxy with a namespace around it. Requests leave through
	// the daemon's network for NetworkHost, else through a sandbox network.
	Open(ctx context.Context, out NetworkMode, gate Gate) (ProxiedNetwork, error)
}

// ProxiedNetwork is the network of one container behind a proxy.
type ProxiedNetwork interface {
	// Path is the file of the namespace.
	Path() string
	// Env names the proxy to the processes, as K=V.
	Env() []string
	// CA is the certificate, in PEM, that processes must trust for HTTPS.
	CA() []byte
	// Close ends the proxy after the container ended, waits for what is under
	// way, and returns what was recorded.
	Close(ctx context.Context) (solver.Traffic, error)
}

// Gate decides about requests.
type Gate interface {
	// Admit returns the URL to ask for in the place of url, mostly url itself,
	// or an error if the request must not be made. It has no credentials in it.
	Admit(ctx context.Context, method, url string) (string, error)
}

// Proxy puts a container behind the recording proxy.
type Proxy struct {
	// Gate, if not nil, is asked about each request.
	Gate Gate
	// Record, if not nil, is called once, after the container ended.
	Record func(solver.Traffic)
}
