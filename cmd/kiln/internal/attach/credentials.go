package attach

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/progress"
)

// knownFor is how long an answer of the configuration is good. Helpers ask
// people, or services whose answers end after five minutes.
const knownFor = 4 * time.Minute

// Credentials offers what the user's Docker configuration knows of registries:
// tokens that are fetched here (see tokens.go), or, to daemons that do not ask
// for those, the credentials themselves.
type Credentials struct {
	auth.UnimplementedAuthServer
	tls map[string]request.TLSContext
	// noTokens makes the daemon fetch the tokens.
	noTokens bool
	seeds    *seeds

	mu    sync.Mutex
	file  *configfile.ConfigFile
	known map[string]knownAuth
	log   func(*progress.Batch)
	told  map[string]bool
}

// knownAuth is what the configuration said.
type knownAuth struct {
	auth types.AuthConfig
	at   time.Time
}

// CredentialsConfig says where credentials come from.
type CredentialsConfig struct {
	// Warnings gets complaints about the configuration.
	Warnings io.Writer
	// TLS says how to reach the token services of registries, by host.
	TLS map[string]request.TLSContext
	// NoTokens hands out credentials instead of tokens.
	NoTokens bool
}

// NewCredentials reads the configuration.
func NewCredentials(cfg CredentialsConfig) *Credentials {
	return &Credentials{
		tls: cfg.TLS, noTokens: cfg.NoTokens, seeds: &seeds{dir: config.Dir()},
		file: config.LoadDefaultConfigFile(cfg.Warnings), known: map[string]knownAuth{}, told: map[string]bool{},
	}
}

// Register adds the service.
func (c *Credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// Log sets what shows that credentials are used: the daemon knows nothing of
// it. Nil ends that; fn is not called after Log has returned.
func (c *Credentials) Log(fn func(*progress.Batch)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = fn
}

// tell shows something once.
func (c *Credentials) tell(name string, started time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log == nil || c.told[name] {
		return
	}
	c.told[name] = true
	completed := time.Now()
	v := &solver.VertexEvent{Digest: digest.FromString(name), Name: name, Started: &started, Completed: &completed}
	if err != nil {
		v.Error = err.Error()
	}
	c.log(&progress.Batch{Vertices: []*solver.VertexEvent{v}})
}

// Docker Hub is known under another name in configurations.
const (
	hubHost = "registry-1.docker.io"
	hubKey  = "https://index.docker.io/v1/"
)

// Credentials looks a registry up. None known is no error.
func (c *Credentials) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	found, err := c.find(req.GetHost())
	if err != nil {
		return nil, err
	}
	user, secret := userSecret(found)
	if secret != "" {
		c.tell("[auth] sharing credentials for "+req.GetHost(), time.Now(), nil)
	}
	return &auth.CredentialsResponse{Username: user, Secret: secret}, nil
}

// find asks the configuration, and its helpers, for a registry.
func (c *Credentials) find(host string) (types.AuthConfig, error) {
	key := host
	if host == hubHost || host == "docker.io" {
		key = hubKey
	}
	// Helpers are processes that may ask the user: one at a time.
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.known[key]; ok && time.Since(k.at) < knownFor {
		return k.auth, nil
	}
	found, err := c.file.GetAuthConfig(key)
	if err != nil {
		return found, fmt.Errorf("credentials for %s: %s", host, strings.TrimSpace(err.Error()))
	}
	c.known[key] = knownAuth{found, time.Now()}
	return found, nil
}

// userSecret is what to send. An identity token is a secret without a user.
func userSecret(a types.AuthConfig) (user, secret string) {
	if a.IdentityToken != "" {
		return "", a.IdentityToken
	}
	return a.Username, a.Password
}
