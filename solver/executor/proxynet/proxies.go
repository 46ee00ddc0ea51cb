package proxynet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// Proxies makes sessions; it is an executor.Proxies.
type Proxies struct {
	root     string
	networks executor.Networks
}

// New returns a maker of sessions whose namespaces have their files in root, a
// directory of its own. What an earlier daemon left there is removed.
// Requests leave through sandbox networks that networks gives, except those
// for the host's network.
func New(root string, networks executor.Networks) (*Proxies, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list left proxy networks: %w", err)
	}
	for _, e := range entries {
		if err := netns.Remove(filepath.Join(root, e.Name())); err != nil {
			return nil, err
		}
	}
	return &Proxies{root: root, networks: networks}, nil
}

// Open starts a session.
func (p *Proxies) Open(ctx context.Context, out executor.NetworkMode, gate executor.Gate) (executor.ProxiedNetwork, error) {
	var way executor.Network = daemon{}
	if out != executor.NetworkHost {
		var err error
		if way, err = p.networks.Sandbox(ctx, ""); err != nil {
			return nil, err
		}
	}
	s, err := newSession(ctx, filepath.Join(p.root, strings.ToLower(rand.Text())), way, gate)
	if err != nil {
		return nil, errors.Join(err, way.Release(context.WithoutCancel(ctx), false))
	}
	return s, nil
}

// daemon is the daemon's own network.
type daemon struct{ net.Dialer }

// Path is empty.
func (daemon) Path() string { return "" }

// DialContext connects as the daemon does.
func (d daemon) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.Dialer.DialContext(ctx, network, address)
}

// Release does nothing.
func (daemon) Release(context.Context, bool) error { return nil }
