package plugin

import (
	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile"
	"github.com/kilnbuild/kiln/solver/frontend/gateway/image"
)

// newFrontends makes the frontends that the configuration leaves on, by the
// names that clients use.
func newFrontends(cfg *config.Config) (map[string]frontend.Frontend, error) {
	out := map[string]frontend.Frontend{}
	if on := cfg.Frontend.Dockerfile.Enabled; on == nil || *on {
		out["dockerfile.v0"] = dockerfile.New()
	}
	if on := cfg.Frontend.Gateway.Enabled; on == nil || *on {
		images, err := image.New(cfg.Frontend.Gateway.AllowedRepositories)
		if err != nil {
			return nil, err
		}
		out["gateway.v0"] = images
	}
	return out, nil
}
