package registry

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
)

// Client reaches registries. See the package documentation.
type Client struct {
	cfg        Config
	limits     limits
	tokens     *tokenCache
	identities *identities
	challenges challenges
	sleep      func(context.Context, time.Duration) error
	stallAfter time.Duration
	traffic    traffic
	// pieceSize is how much of a blob is sent at a time after a failure.
	pieceSize int64

	mu      sync.Mutex // guards clients, and which map cfg.Hosts is
	clients map[clientKey]*http.Client
	// generation counts calls of SetHosts.
	generation int
}

// New returns a Client. It fails with errdefs InvalidArgument for hosts and
// mirrors that are no hosts; certificates are read when they are needed.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure registries: %w", err)
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "kiln"
	}
	return &Client{
		cfg:        cfg,
		limits:     limits{size: int64(cfg.Concurrency)},
		tokens:     newTokenCache(cfg.Now),
		identities: newIdentities(cfg.Sessions),
		clients:    map[clientKey]*http.Client{},
		sleep:      sleep,
		stallAfter: stallAfter,
		pieceSize:  pieceSize,
	}, nil
}

// SetHosts replaces what is special about hosts; requests that are under way
// end as they began. It fails as New does, and then changes nothing.
func (c *Client) SetHosts(hosts map[string]HostConfig) error {
	if err := (&Config{Hosts: hosts}).validate(); err != nil {
		return fmt.Errorf("configure registries: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Hosts = hosts
	c.generation++
	for k, hc := range c.clients {
		hc.CloseIdleConnections()
		delete(c.clients, k)
	}
	return nil
}

// configured returns what is special about hosts, which nobody changes, and how
// often it was replaced.
func (c *Client) configured() (map[string]HostConfig, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Hosts, c.generation
}

// Close closes idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, hc := range c.clients {
		hc.CloseIdleConnections()
	}
}

// Options say on whose behalf a repository is used.
type Options struct {
	// Sessions, optional, returns the ids of the sessions that may be asked
	// for credentials, most suitable first. It is called anew for each
	// question, as builds join and leave.
	Sessions func() []string
	// Login, optional, returns what a request itself brought for an address
	// (host[:port]); sessions are not asked then. It must give nothing to
	// addresses that the credentials are not for, such as mirrors.
	Login func(addr string) Login
	// Insecure does without verified certificates and encryption, whatever is
	// configured for the host.
	Insecure bool
}

// Repository returns the repository of an image reference, which must begin
// with a host: "docker.io/library/alpine:3.20", with a tag, a digest or both.
// It does no I/O but for reading certificates. A reference of another form is
// errdefs InvalidArgument.
func (c *Client) Repository(ref string, opt Options) (*Repository, error) {
	spec, err := reference.Parse(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w: %w", ref, err, errdefs.ErrInvalidArgument)
	}
	hosts, err := c.hosts(spec.Hostname(), opt.Insecure)
	if err != nil {
		return nil, fmt.Errorf("reach registry %s: %w", spec.Hostname(), err)
	}
	if opt.Sessions == nil {
		opt.Sessions = func() []string { return nil }
	}
	r := &Repository{client: c, spec: spec, hosts: hosts, opt: opt}
	r.auth = newAuthorizer(c, r)
	return r, nil
}

// registryHosts describes hosts to containerd's registry client.
func (r *Repository) registryHosts() []docker.RegistryHost {
	out := make([]docker.RegistryHost, len(r.hosts))
	for i, h := range r.hosts {
		out[i] = docker.RegistryHost{
			Client: h.client, Authorizer: r.auth, Host: h.addr, Scheme: h.scheme, Path: h.path,
			Capabilities: h.capabilities,
		}
	}
	return out
}
