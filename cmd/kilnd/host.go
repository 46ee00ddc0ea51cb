package main

import (
	"context"
	"errors"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/embedded"
	"github.com/kilnbuild/kiln/plugin/sidecar"
)

// host is a containerd, in this process or beside it.
type host interface {
	// Host returns its services until Close.
	Host() plugin.Host
	Close(ctx context.Context) error
}

// openHost embeds a containerd, or reaches the one that the settings name.
func openHost(ctx context.Context, s *Settings) (host, error) {
	if s.Containerd != "" {
		return sidecar.Open(ctx, sidecar.Config{
			Address: s.Containerd, Root: s.Root, State: s.State, Namespace: s.Namespace, Snapshotter: s.Workers.OCI.Snapshotter,
		})
	}
	h, err := embedded.Open(ctx, embedded.Config{Root: s.Root, State: s.State, Namespace: s.Namespace})
	if err != nil || !s.ServeContainerd {
		return h, err
	}
	path, err := h.Serve(ctx)
	if err != nil {
		return nil, errors.Join(err, h.Close(context.WithoutCancel(ctx)))
	}
	log.G(ctx).Debugf("containerd's services are on %s", path)
	return h, nil
}

// executor is what clients are told of who runs steps: "containerd" says that images are in a containerd's store, which
// nerdctl looks for before it asks for a tarball.
func (s *Settings) executor() string {
	if s.Containerd != "" {
		return "containerd"
	}
	return "oci"
}
