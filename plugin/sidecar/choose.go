package sidecar

import (
	"fmt"
	"slices"
	"strings"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/plugin/proxy"
)

// preferred are the snapshotters that are taken when none is named, best first.
var preferred = []string{proxy.SnapshotterName, "overlayfs", "native"}

// choice is a snapshotter of the containerd.
type choice struct {
	name string
	// address is where the containerd calls it; empty if it is in the containerd's process.
	address string
}

// choose takes the named snapshotter, or with "" or "auto" the best one that works.
func choose(list []*introspectionapi.Plugin, name string) (choice, error) {
	working := map[string]choice{}
	for _, p := range list {
		if p.Type == string(plugins.SnapshotPlugin) && p.InitErr == nil {
			working[p.ID] = choice{name: p.ID, address: strings.TrimPrefix(p.Exports["address"], "unix://")}
		}
	}
	wanted := []string{name}
	if name == "" || name == "auto" {
		wanted = preferred
	}
	for _, w := range wanted {
		if c, ok := working[w]; ok {
			return c, nil
		}
	}
	names := make([]string, 0, len(working))
	for n := range working {
		names = append(names, n)
	}
	slices.Sort(names)
	return choice{}, fmt.Errorf("containerd has no working snapshotter %s; it has %s: %w",
		strings.Join(wanted, " or "), strings.Join(names, ", "), errdefs.ErrNotFound)
}
