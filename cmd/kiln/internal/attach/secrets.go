package attach

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver/pb/secrets"
	"github.com/kilnbuild/kiln/solver/session"
)

// Secrets offers secrets by id.
type Secrets struct {
	secrets.UnimplementedSecretsServer
	byID map[string]request.Secret
}

// NewSecrets checks that the files are there and small enough.
func NewSecrets(list []request.Secret) (*Secrets, error) {
	s := &Secrets{byID: map[string]request.Secret{}}
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

// GetSecret returns a value. A variable that is not set is an empty one.
func (s *Secrets) GetSecret(_ context.Context, req *secrets.GetSecretRequest) (*secrets.GetSecretResponse, error) {
	one, ok := s.byID[req.GetID()]
	if !ok {
		return nil, fmt.Errorf("secret %s: %w", req.GetID(), errdefs.ErrNotFound)
	}
	if one.File == "" {
		return &secrets.GetSecretResponse{Data: []byte(os.Getenv(one.Env))}, nil
	}
	data, err := os.ReadFile(one.File)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", one.ID, err)
	}
	return &secrets.GetSecretResponse{Data: data}, nil
}
