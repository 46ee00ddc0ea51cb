package attach

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/pb/secrets"
	"github.com/kilnbuild/kiln/solver/session"
)

// Secret is where a secret's value is found.
type Secret struct {
	ID string
	// File or Env has the value.
	File, Env string
}

// Secrets offers secrets by id.
type Secrets struct {
	secrets.UnimplementedSecretsServer
	byID map[string]Secret
}

// NewSecrets checks that every secret can be found.
func NewSecrets(list []Secret) (*Secrets, error) {
	s := &Secrets{byID: map[string]Secret{}}
	for _, one := range list {
		if one.File != "" {
			fi, err := os.Stat(one.File)
			if err != nil {
				return nil, fmt.Errorf("secret %s: %w", one.ID, err)
			}
			if fi.Size() > session.MaxSecretSize {
				return nil, fmt.Errorf("secret %s: file %s is larger than %d bytes", one.ID, one.File, session.MaxSecretSize)
			}
		}
		s.byID[one.ID] = one
	}
	return s, nil
}

// Register adds the service.
func (s *Secrets) Register(r *grpc.Server) { secrets.RegisterSecretsServer(r, s) }

// GetSecret returns a value.
func (s *Secrets) GetSecret(_ context.Context, req *secrets.GetSecretRequest) (*secrets.GetSecretResponse, error) {
	one, ok := s.byID[req.GetID()]
	if !ok {
		return nil, fmt.Errorf("secret %s: %w", req.GetID(), errdefs.ErrNotFound)
	}
	if one.File == "" {
		v, ok := os.LookupEnv(one.Env)
		if !ok {
			return nil, fmt.Errorf("secret %s: environment variable %s is not set: %w", one.ID, one.Env, errdefs.ErrNotFound)
		}
		return &secrets.GetSecretResponse{Data: []byte(v)}, nil
	}
	data, err := os.ReadFile(one.File)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", one.ID, err)
	}
	return &secrets.GetSecretResponse{Data: data}, nil
}
