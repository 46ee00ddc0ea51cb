package runc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/executor"
)

// attachment is the network that a container is in.
type attachment struct {
	// host means the daemon's own network. Otherwise path is the file of a
	// namespace, or empty for a new one with nothing but loopback.
	host bool
	path string
	// env is what processes need to know of the network, ca the certificate
	// they must trust in it.
	env []string
	ca  []byte
}

// environ adds what the network says to a process's environment; it says the
// last word.
func (j *attachment) environ(env []string) []string {
	if len(j.env) == 0 {
		return env
	}
	out := slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(j.env, func(own string) bool { return strings.HasPrefix(own, name+"=") })
	})
	return append(out, j.env...)
}

// join gets the container its network.
func (e *Executor) join(ctx context.Context, b *bundle, c *executor.Container) error {
	switch {
	case c.Network == executor.NetworkNone:
	case c.Proxy != nil:
		return e.joinProxy(ctx, b, c)
	case c.Network == executor.NetworkHost || e.cfg.Networks == nil:
		b.net.host = true
	default:
		n, err := e.cfg.Networks.Sandbox(ctx, c.Hostname)
		if err != nil {
			return err
		}
		b.net.path = n.Path()
		b.net.host = n.Path() == ""
		// A process with all capabilities may have changed routes and rules.
		b.undo = append(b.undo, func() error { return n.Release(context.WithoutCancel(ctx), c.Insecure) })
	}
	return nil
}

func (e *Executor) joinProxy(ctx context.Context, b *bundle, c *executor.Container) error {
	if e.cfg.Proxies == nil {
		return fmt.Errorf("this builder has no proxied network: %w", errdefs.ErrNotImplemented)
	}
	n, err := e.cfg.Proxies.Open(ctx, c.Network, c.Proxy.Gate)
	if err != nil {
		return err
	}
	b.net = attachment{path: n.Path(), env: n.Env(), ca: n.CA()}
	record := c.Proxy.Record
	b.undo = append(b.undo, func() error {
		traffic, err := n.Close(context.WithoutCancel(ctx))
		if record != nil {
			record(traffic)
		}
		return err
	})
	return nil
}
