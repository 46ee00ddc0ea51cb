package attach

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/pb/auth"
)

// Credentials offers what the user's Docker configuration knows of registries.
type Credentials struct {
	auth.UnimplementedAuthServer
	mu   sync.Mutex
	file *configfile.ConfigFile
}

// NewCredentials reads the configuration; complaints go to warnings.
func NewCredentials(warnings io.Writer) *Credentials {
	return &Credentials{file: config.LoadDefaultConfigFile(warnings)}
}

// Register adds the service.
func (c *Credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// Docker Hub is known under another name in configurations.
const (
	hubHost = "registry-1.docker.io"
	hubKey  = "https://index.docker.io/v1/"
)

// Credentials looks a registry up. None known is no error.
func (c *Credentials) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	host := req.GetHost()
	if host == hubHost || host == "docker.io" {
		host = hubKey
	}
	// Helpers are processes that may ask the user: one at a time.
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.file.GetAuthConfig(host)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %s", req.GetHost(), strings.TrimSpace(err.Error()))
	}
	if found.IdentityToken != "" {
		return &auth.CredentialsResponse{Secret: found.IdentityToken}, nil
	}
	return &auth.CredentialsResponse{Username: found.Username, Secret: found.Password}, nil
}
