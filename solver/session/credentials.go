package session

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/auth"
)

// Credentials are what a client knows for a registry. An empty Username with
// a Secret is an identity token; both empty is anonymous.
type Credentials struct {
	Username, Secret string
}

// String hides the secret: credentials end up in logs otherwise.
func (c Credentials) String() string { return "credentials of " + c.Username }

// GoString hides the secret as well.
func (c Credentials) GoString() string { return c.String() }

// Credentials asks the sessions ids what they know for a registry host. If
// none of them serves credentials, or there is no session, the answer is
// anonymous.
func (m *Manager) Credentials(ctx context.Context, ids []string, host string) (Credentials, error) {
	var out Credentials
	err := m.Any(ctx, ids, func(ctx context.Context, s *Session) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		resp, err := auth.NewAuthClient(s.Conn()).Credentials(ctx, &auth.CredentialsRequest{Host: host})
		// A client that went away is not one without credentials.
		if c := status.Code(err); s.ctx.Err() == nil && (c == codes.Unimplemented || c == codes.Unavailable) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask client for credentials of %s: %w", host, err)
		}
		out = Credentials{Username: resp.GetUsername(), Secret: resp.GetSecret()}
		return nil
	})
	if errors.Is(err, ErrNone) {
		return Credentials{}, nil
	}
	return out, err
}
