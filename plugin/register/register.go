package register

import (
	"fmt"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/snapshotter"
)

// Name is the id of all three plugins.
const Name = "kiln"

// SnapshotterConfig is the snapshotter's section.
type SnapshotterConfig struct {
	// RootPath is the directory for layers; empty is the plugin's own below containerd's root.
	RootPath string `toml:"root_path"`
	// MountOptions are added to every overlay mount.
	MountOptions []string `toml:"mount_options"`
}

func init() {
	registry.Register(&plugin.Registration{
		Type: plugins.SnapshotPlugin, ID: Name, Config: &SnapshotterConfig{}, InitFn: newSnapshotter,
	})
	registry.Register(&plugin.Registration{
		Type: plugins.DiffPlugin, ID: Name, Requires: []plugin.Type{plugins.MetadataPlugin}, InitFn: newDiffer,
	})
	registry.Register(&plugin.Registration{
		Type: plugins.GRPCPlugin, ID: Name, Config: &Section{}, InitFn: newBuilder,
		Requires: []plugin.Type{
			plugins.ServicePlugin, plugins.LeasePlugin, plugins.GCPlugin, plugins.SnapshotPlugin, plugins.DiffPlugin,
		},
	})
}

func newSnapshotter(ic *plugin.InitContext) (any, error) {
	cfg, ok := ic.Config.(*SnapshotterConfig)
	if !ok {
		return nil, fmt.Errorf("configuration of snapshotter %s is a %T", Name, ic.Config)
	}
	root := cfg.RootPath
	if root == "" {
		root = ic.Properties[plugins.PropertyRootDir]
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	ic.Meta.Capabilities = append(ic.Meta.Capabilities, snapshotter.MergeCap)
	ic.Meta.Exports[plugins.SnapshotterRootDir] = root
	// containerd's metadata is durable transaction by transaction, and so must be what it names.
	return snapshotter.New(ic.Context, root, snapshotter.Config{MountOptions: cfg.MountOptions})
}

func newDiffer(ic *plugin.InitContext) (any, error) {
	db, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, err
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	return differ.New(db.(*metadata.DB).ContentStore(), differ.Config{}), nil
}
