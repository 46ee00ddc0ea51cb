package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/systemd"
)

const (
	// dockerSocket is the name of the socket that is the Docker API's without
	// being asked for.
	dockerSocket = "docker"
	// lastWords is how long clients may take to read how their builds ended
	// before a drained daemon closes their connections.
	lastWords = 3 * time.Second
	// extendEvery is how often a stop that goes on says so; the manager waits
	// extendBy from then on.
	extendEvery = 5 * time.Second
	extendBy    = 20 * time.Second
)

// service is the daemon as a service manager sees it.
type service struct {
	notifier *systemd.Notifier
	sockets  *systemd.Sockets
	watchdog time.Duration
	// gate counts the clients of all listeners.
	gate systemd.Gate
}

// openService takes what the service manager passed.
func openService(env systemd.Environment) (*service, error) {
	sockets, err := systemd.TakeSockets(env)
	if err != nil {
		return nil, err
	}
	return &service{notifier: systemd.NewNotifier(env), watchdog: systemd.WatchdogInterval(env), sockets: sockets}, nil
}

// claim decides which sockets are whose: those under a name that an address
// asks for are kept for it, and one called "docker" is the Docker API's.
func (v *service) claim(s *Settings) {
	for _, name := range v.sockets.Names() {
		if name == dockerSocket && len(s.DockerAddrs) == 0 {
			s.DockerAddrs = []string{"fd://" + dockerSocket}
		}
	}
}

// options are those of every listener.
func (v *service) options(s *Settings) (listen.Options, error) {
	config, err := listen.ServerTLS(s.GRPC.TLS.Cert, s.GRPC.TLS.Key, s.GRPC.TLS.CA)
	if err != nil {
		return listen.Options{}, err
	}
	named := []string{dockerSocket}
	for _, address := range append(append([]string(nil), s.GRPC.Address...), s.DockerAddrs...) {
		if name, ok := strings.CutPrefix(address, "fd://"); ok && name != "" {
			named = append(named, name)
		}
	}
	inherited := func(name string) []net.Listener {
		if name == "" {
			return v.sockets.Rest(named...)
		}
		return v.sockets.Named(name)
	}
	return listen.Options{UID: s.GRPC.UID, GID: s.GRPC.GID, TLS: config, Inherited: inherited, Wrap: v.gate.Wrap}, nil
}

// tell tells the service manager; that it cannot be told stops nothing.
func (v *service) tell(ctx context.Context, say func() error) {
	if err := say(); err != nil {
		log.G(ctx).WithError(err).Warn("service manager could not be told")
	}
}

// serving says that the daemon serves, and follows builder until ctx ends:
// its status, its life, and whether anybody needs it. What it returns says that
// the daemon stops.
func (v *service) serving(ctx context.Context, stop *stopping, s *Settings, builder *plugin.Builder) (stopping func()) {
	v.tell(ctx, v.notifier.Ready)
	go v.report(ctx, builder)
	go systemd.Guard(ctx, v.notifier, v.watchdog, builder.Alive,
		func(err error) { log.G(ctx).WithError(err).Error("watchdog is not served") })
	if s.Drain > 0 {
		stop.draining(func(ctx context.Context) { v.drain(ctx, s.Drain, builder) })
	}
	if s.IdleStop > 0 {
		go func() {
			if systemd.WaitIdle(ctx, &v.gate, s.IdleStop, builder.Builds.Watch) == nil {
				log.G(ctx).Infof("no client and no build for %s: stopping", s.IdleStop)
				stop.stop(errIdle)
			}
		}()
	}
	return func() { v.tell(ctx, v.notifier.Stopping) }
}

// report keeps the status line right until ctx ends.
func (v *service) report(ctx context.Context, builder *plugin.Builder) {
	if v.notifier == nil {
		return
	}
	for last := -1; ; {
		n, changed := builder.Builds.Watch()
		if n != last {
			v.tell(ctx, func() error { return v.notifier.Status(running(n)) })
			last = n
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// running says how many builds run.
func running(n int) string {
	switch n {
	case 0:
		return "idle"
	case 1:
		return "1 build running"
	default:
		return fmt.Sprintf("%d builds running", n)
	}
}

// drain takes no new builds and waits for those that run, for the time that is
// given or until ctx ends. Clients that come through sockets of the service
// manager meanwhile wait in the queue for the next daemon, which may be there
// in a moment; those that are connected, or come another way, are told.
func (v *service) drain(ctx context.Context, limit time.Duration, builder *plugin.Builder) {
	v.gate.Shut()
	builder.Builds.Drain()
	v.tell(ctx, v.notifier.Stopping)
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("builds are cancelled after %s: %w", limit, errdefs.ErrAborted))
	defer cancel()
	log.G(ctx).Infof("stopping when the running builds have ended, in %s at the latest", limit)
	v.wait(limited, builder.Builds.Watch)
	if cause := context.Cause(limited); errors.Is(cause, errdefs.ErrAborted) {
		log.G(ctx).Warn(cause)
		return
	}
	// Clients that are left read the end.
	words, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	v.wait(words, v.gate.Watch)
}

// wait waits until there is nothing left, or ctx ends, and tells the manager
// that the stop goes on.
func (v *service) wait(ctx context.Context, left func() (int, <-chan struct{})) {
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		v.tell(ctx, func() error { return v.notifier.Extend(extendBy) })
		n, changed := left()
		if n == 0 {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
