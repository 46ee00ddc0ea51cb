package session

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/secrets"
)

// MaxSecretSize bounds a secret, in bytes.
const MaxSecretSize = 500 << 10

// Secret asks the sessions ids for a secret. If none has it the error is
// errdefs NotFound with the text "secret <id>: not found".
func (m *Manager) Secret(ctx context.Context, ids []string, id string) ([]byte, error) {
	var data []byte
	err := m.Any(ctx, ids, func(ctx context.Context, s *Session) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		resp, err := secrets.NewSecretsClient(s.Conn()).GetSecret(ctx, &secrets.GetSecretRequest{ID: id})
		if c := status.Code(err); c == codes.NotFound || c == codes.Unimplemented {
			return fmt.Errorf("secret %s: %w", id, errdefs.ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("ask client for secret %s: %w", id, err)
		}
		if len(resp.GetData()) > MaxSecretSize {
			return fmt.Errorf("secret %s is %d bytes, more than the limit of %d: %w",
				id, len(resp.GetData()), MaxSecretSize, errdefs.ErrInvalidArgument)
		}
		data = resp.GetData()
		return nil
	})
	return data, err
}
