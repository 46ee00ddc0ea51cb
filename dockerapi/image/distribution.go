package image

import (
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// distribution answers GET /distribution/{name}/json: what a registry has.
func (s *Server) distribution(w http.ResponseWriter, r *http.Request, name string) error {
	parsed, err := reference.ParseAnyReference(name)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	ref, ok := parsed.(reference.Named)
	if !ok {
		return fmt.Errorf("no manifest found for full image ID: %w", errdefs.ErrInvalidArgument)
	}
	desc, platforms, err := s.store.Remote(r.Context(), ref, credentials(r))
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, struct {
		Descriptor ocispecs.Descriptor
		Platforms  []ocispecs.Platform
	}{desc, platforms})
}
