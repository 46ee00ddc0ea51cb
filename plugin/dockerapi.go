package plugin

import (
	"context"

	"github.com/kilnbuild/kiln/dockerapi"
	"github.com/kilnbuild/kiln/dockerapi/build"
	"github.com/kilnbuild/kiln/dockerapi/hijack"
	"github.com/kilnbuild/kiln/dockerapi/system"
)

// DockerAPI makes a server of the Docker Engine API over the builder. Requests
// end with ctx. Whoever serves Control accepts the connections of its GRPC
// listener as well.
func (b *Builder) DockerAPI(ctx context.Context) (*dockerapi.Server, error) {
	return dockerapi.New(ctx, dockerapi.Config{
		Build: build.Config{
			Builder: b.Builds, Sessions: b.sessions, Refs: b.refs, Root: build.ContextsDir(b.host.Root),
			// Images stay, whatever a client prunes: they are the engine's.
			Pruned: func(ctx context.Context) error { return b.pruned(ctx, false) },
		},
		System: system.Config{Version: b.version.Version, Revision: b.version.Revision},
		Hijack: hijack.Config{Sessions: b.sessions, GRPC: hijack.NewListener()},
	})
}
