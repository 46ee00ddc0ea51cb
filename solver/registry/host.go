package registry

import (
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// host is one place that requests go to.
type host struct {
	// name is what configuration and limits know it by, addr what requests do.
	name, addr   string
	scheme, path string
	insecure     bool
	client       *http.Client
	capabilities docker.HostCapabilities
}

// hosts returns where to ask for what is under a name: mirrors first, the
// host itself last. Certificates are read when a host is first needed, so that
// a broken file does not keep other hosts from being reached.
func (c *Client) hosts(name string, insecure bool) ([]*host, error) {
	const read = docker.HostCapabilityPull | docker.HostCapabilityResolve
	var out []*host
	configured, generation := c.configured()
	if !insecure {
		// Insecure access is asked for one host by a client; mirrors were
		// chosen for the proper way.
		for _, text := range configured[name].Mirrors {
			m, err := parseMirror(text)
			if err != nil {
				return nil, err
			}
			h, err := c.host(m.host, configured[m.host], clientKey{generation: generation})
			if err != nil {
				return nil, err
			}
			h.path, h.capabilities = m.path, read
			out = append(out, h)
		}
	}
	cfg := configured[name]
	if insecure {
		plain := true
		cfg.Insecure, cfg.PlainHTTP = true, &plain
	}
	h, err := c.host(name, cfg, clientKey{origin: true, generation: generation})
	if err != nil {
		return nil, err
	}
	h.path, h.capabilities = apiPath, read|docker.HostCapabilityReferrers|docker.HostCapabilityPush
	return append(out, h), nil
}

// clientKey names an HTTP client that requests share, and with it the idle
// connections.
type clientKey struct {
	name             string
	insecure, origin bool
	// generation is that of the configuration.
	generation int
}

// host makes the description of one host; origin hosts are asked again after
// passing failures, mirrors are passed over. key says all of the client but the
// name and whether it is insecure.
func (c *Client) host(name string, cfg HostConfig, key clientKey) (*host, error) {
	h := &host{name: name, addr: name, scheme: "https", insecure: cfg.Insecure}
	if name == dockerHub {
		h.addr = dockerHubHost
	}
	plain := isLocal(h.addr)
	if cfg.PlainHTTP != nil {
		plain = *cfg.PlainHTTP
	}
	if plain && !cfg.Insecure {
		h.scheme = "http"
	}
	key.name, key.insecure = name, cfg.Insecure
	c.mu.Lock()
	defer c.mu.Unlock()
	if hc := c.clients[key]; hc != nil {
		h.client = hc
		return h, nil
	}
	tc, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	counted := newTransport(tc)
	counted.DialContext = c.traffic.count(counted.DialContext)
	var rt http.RoundTripper = counted
	if plain && cfg.Insecure {
		rt = docker.NewHTTPFallback(rt)
	}
	if len(c.clients) >= maxClients {
		// Names come from clients: what they make us keep is bounded.
		for k, old := range c.clients {
			old.CloseIdleConnections()
			delete(c.clients, k)
		}
	}
	h.client = &http.Client{Transport: &transport{base: rt, retry: key.origin, client: c}}
	c.clients[key] = h.client
	return h, nil
}
