package registry

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/session"
)

// DefaultConcurrency is how many blobs are transferred at a time with a host.
const DefaultConcurrency = 4

// Config is what a Client is made of. The zero value reaches all registries
// by default rules, without credentials.
type Config struct {
	// Hosts has what is special about some hosts, by "host" or "host:port".
	// "docker.io" stands for the host that serves it.
	Hosts map[string]HostConfig
	// Sessions, optional, are asked for credentials.
	Sessions *session.Manager
	// Concurrency replaces DefaultConcurrency if it is positive.
	Concurrency int
	// UserAgent, optional, is what registries are told.
	UserAgent string
	// Now, optional, is the clock.
	Now func() time.Time
}

// HostConfig says how to reach one host.
type HostConfig struct {
	// Mirrors are asked before the host, in order: "host[:port][/path]". How
	// to reach a mirror follows from its own entry.
	Mirrors []string
	// PlainHTTP chooses http or https; nil is http for this machine and https
	// for all others.
	PlainHTTP *bool
	// Insecure does not verify certificates. Together with plain HTTP it tries
	// https first and falls back.
	Insecure bool
	// CAs are PEM files of authorities trusted beside the system's.
	CAs []string
	// KeyPairs are client certificates.
	KeyPairs []KeyPair
	// TLSDirs are directories with authorities (*.crt) and client certificates
	// (*.cert with a *.key of the same name). Missing ones are ignored.
	TLSDirs []string
}

// KeyPair names the PEM files of a client certificate.
type KeyPair struct {
	Key, Certificate string
}

// dockerHub is the name of the registry whose host has another name.
const (
	dockerHub     = "docker.io"
	dockerHubHost = "registry-1.docker.io"
)

// apiPath is where the registry API begins on a host.
const apiPath = "/v2"

// mirror is a parsed entry of HostConfig.Mirrors.
type mirror struct {
	host, path string
}

// parseMirror reads "host[:port][/path]"; a scheme is tolerated and ignored.
func parseMirror(s string) (mirror, error) {
	rest := s
	if _, after, ok := strings.Cut(s, "://"); ok {
		rest = after
	}
	u, err := url.Parse("//" + rest)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return mirror{}, fmt.Errorf("mirror %q is not of the form host[:port][/path]: %w", s, errdefs.ErrInvalidArgument)
	}
	return mirror{host: u.Host, path: path.Join(apiPath, u.Path)}, nil
}

// validate parses what does not need files.
func (c *Config) validate() error {
	for name, h := range c.Hosts {
		if name == "" || strings.ContainsAny(name, "/@?#") {
			return fmt.Errorf("registry host %q is not of the form host[:port]: %w", name, errdefs.ErrInvalidArgument)
		}
		for _, m := range h.Mirrors {
			if _, err := parseMirror(m); err != nil {
				return fmt.Errorf("registry %q: %w", name, err)
			}
		}
	}
	return nil
}

// isLocal reports whether a host is this machine, which is reached by plain
// HTTP unless configured otherwise.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
