package imagestore

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
)

// hubHost is what Docker Hub's registry answers to; hubNames are the names that
// clients keep credentials for it under.
const hubHost = "registry-1.docker.io"

var hubNames = map[string]bool{"docker.io": true, "index.docker.io": true, hubHost: true}

// Login is what credentials of a request mean to a registry.
func Login(c route.Credentials) registry.Login {
	if c.Username == "" && c.Auth != "" {
		if data, err := base64.StdEncoding.DecodeString(c.Auth); err == nil {
			c.Username, c.Password, _ = strings.Cut(strings.TrimRight(string(data), "\x00"), ":")
		}
	}
	l := registry.Login{Token: c.RegistryToken}
	if l.Credentials = (session.Credentials{Username: c.Username, Secret: c.Password}); c.IdentityToken != "" {
		l.Credentials = session.Credentials{Secret: c.IdentityToken}
	}
	return l
}

// RegistryHost is the name in image names of the registry at an address as
// clients keep it ("https://index.docker.io/v1/"); Docker Hub for none.
func RegistryHost(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	host, _, _ := strings.Cut(address, "/")
	if host == "" || hubNames[host] {
		return "docker.io"
	}
	return host
}

// repository opens a repository with the credentials of a request, which go to
// the registry of that name only.
func (s *Store) repository(ref reference.Named, c route.Credentials) (*registry.Repository, error) {
	login, domain := Login(c), reference.Domain(ref)
	return s.cfg.Registries.Repository(ref.String(), registry.Options{Login: func(addr string) registry.Login {
		if addr == domain || domain == "docker.io" && addr == hubHost {
			return login
		}
		return registry.Login{}
	}})
}

// SignIn finds out whether a registry accepts credentials.
func (s *Store) SignIn(ctx context.Context, c route.Credentials) error {
	host := RegistryHost(c.ServerAddress)
	if _, err := reference.ParseNormalizedNamed(host + "/library/any"); err != nil {
		return kind(errdefs.ErrInvalidArgument, "invalid server address %q: want host[:port]", c.ServerAddress)
	}
	return s.cfg.Registries.SignIn(ctx, host, Login(c))
}
