package plugin

import (
	"context"

	"github.com/kilnbuild/kiln/dockerapi"
	"github.com/kilnbuild/kiln/dockerapi/build"
	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/hijack"
	"github.com/kilnbuild/kiln/dockerapi/image"
)

// DockerAPI makes a server of the Docker Engine API over the builder. Requests
// end with ctx. Whoever serves Control accepts the connections of its GRPC
// listener as well.
func (b *Builder) DockerAPI(ctx context.Context) (*dockerapi.Server, error) {
	store := b.imageStore()
	images := image.New(store)
	about, err := b.aboutEngine(store, images)
	if err != nil {
		return nil, err
	}
	return dockerapi.New(ctx, dockerapi.Config{
		Build: build.Config{
			Builder: b.Builds, Sessions: b.sessions, Refs: b.refs, Root: build.ContextsDir(b.host.Root),
			HostGateway: b.gateway,
			// Images stay, whatever a client prunes: they are the engine's.
			Pruned: func(ctx context.Context) error { return b.pruned(ctx, false) },
			Event: func(action string, attributes map[string]string) {
				b.events.Publish(event.Event{Type: event.TypeBuilder, Action: action, Attributes: attributes})
			},
		},
		System: about,
		More:   []dockerapi.Part{images},
		Hijack: hijack.Config{Sessions: b.sessions, GRPC: hijack.NewListener()},
	})
}
