package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"

	"github.com/containerd/log"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
	"github.com/kilnbuild/kiln/dockerapi"
	"github.com/kilnbuild/kiln/plugin"
)

// dockerDoor is the Docker API on its listeners.
type dockerDoor struct {
	server    *dockerapi.Server
	listeners []net.Listener
}

// openDocker opens the addresses of the Docker API; none is none.
func openDocker(ctx context.Context, addresses []string, options listen.Options) (*dockerDoor, error) {
	options.TLS = dockerTLS(options.TLS)
	listeners, err := listen.Open(ctx, addresses, options)
	return &dockerDoor{listeners: listeners}, err
}

// dockerTLS lets clients agree on HTTP/1: those that could do both get that,
// since HTTP/2 is for gRPC here.
func dockerTLS(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	plain := config.Clone()
	plain.NextProtos = []string{"http/1.1"}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, "http/1.1") {
			return plain, nil
		}
		return nil, nil
	}
	return config
}

// assemble makes the server; without listeners there is none.
func (d *dockerDoor) assemble(ctx context.Context, builder *plugin.Builder) (err error) {
	if len(d.listeners) == 0 {
		return nil
	}
	d.server, err = builder.DockerAPI(ctx)
	return err
}

// grpc is where the gRPC server gets connections from, beside its own
// listeners.
func (d *dockerDoor) grpc() []net.Listener {
	if d.server == nil {
		return nil
	}
	return []net.Listener{d.server.GRPC()}
}

// serve answers until shutdown.
func (d *dockerDoor) serve(ctx context.Context, group *errgroup.Group) {
	for _, l := range d.listeners {
		group.Go(func() error {
			if err := d.server.Serve(l); err != nil {
				return fmt.Errorf("serve the Docker API on %s: %w", l.Addr(), err)
			}
			return nil
		})
		log.G(ctx).Infof("serving the Docker API on %s", l.Addr())
	}
}

// shutdown ends what serve began.
func (d *dockerDoor) shutdown(ctx context.Context) {
	if d.server == nil {
		return
	}
	if err := d.server.Shutdown(ctx); err != nil {
		log.G(ctx).WithError(err).Warn("the Docker API could not be closed")
	}
}

// close closes the listeners that were never served.
func (d *dockerDoor) close() { closeListeners(d.listeners) }

// entitle gives builds what those of a Docker engine may ask for, unless the
// operator has said what they may: "docker build --network=host" works without
// any configuration there.
func (d *dockerDoor) entitle(s *Settings) {
	if len(d.listeners) > 0 && s.Entitlements == nil {
		s.Entitlements = []string{"network.host"}
	}
}

// host keeps images from being taken for a part of the build cache: clients of
// an engine remove them by name.
func (d *dockerDoor) host(h plugin.Host) plugin.Host {
	h.Private = h.Private && len(d.listeners) == 0
	return h
}
