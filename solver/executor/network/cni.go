package network

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	cni "github.com/containerd/go-cni"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// otherBinaries are searched for plugins after the default directory.
var otherBinaries = []string{"/usr/lib/cni", "/usr/libexec/cni"}

// plugins connects namespaces with what the user's CNI configuration says.
type plugins struct {
	cni cni.CNI
}

func newPlugins(cfg Config) (*plugins, error) {
	if _, err := os.Stat(cfg.CNIConfig); err != nil {
		return nil, fmt.Errorf("read CNI configuration (worker.oci.cniConfigPath): %w", err)
	}
	dirs := []string{cfg.CNIBinaries}
	if cfg.CNIBinaries == DefaultCNIBinaries {
		dirs = append(dirs, otherBinaries...)
	}
	load := cni.WithConfFile
	if filepath.Ext(cfg.CNIConfig) == ".conflist" {
		load = cni.WithConfListFile
	}
	// Loopback is up already, so that no plugin is needed for it.
	c, err := cni.New(cni.WithMinNetworkCount(1), cni.WithPluginDir(dirs), cni.WithInterfacePrefix("eth"), load(cfg.CNIConfig))
	if err != nil {
		return nil, fmt.Errorf("load CNI configuration %s: %w: %w", cfg.CNIConfig, err, errdefs.ErrInvalidArgument)
	}
	return &plugins{cni: c}, nil
}

// options name the container to plugins that care for names. The variable is
// the one that Kubernetes uses, as other tools do.
func (p *plugins) options(s *space) []cni.NamespaceOpts {
	if s.hostname == "" {
		return nil
	}
	return []cni.NamespaceOpts{cni.WithArgs("K8S_POD_NAME", s.hostname), cni.WithArgs("IgnoreUnknown", "1")}
}

func (p *plugins) connect(ctx context.Context, s *space) error {
	if _, err := p.cni.Setup(ctx, s.id, s.Path(), p.options(s)...); err != nil {
		return fmt.Errorf("CNI setup error: %w", err)
	}
	return nil
}

func (p *plugins) disconnect(ctx context.Context, s *space) error {
	if !netns.Mounted(s.Path()) {
		// Plugins accept that a namespace is gone, but not that a file which
		// is none has taken its place. If telling them fails, the next start
		// does not know the namespace any more; else one bad entry would be
		// tried at every start for ever.
		if err := netns.Remove(s.Path()); err != nil {
			return err
		}
	}
	if err := p.cni.Remove(ctx, s.id, s.Path(), p.options(s)...); err != nil {
		return fmt.Errorf("CNI removal error: %w", err)
	}
	return nil
}

func (p *plugins) close(context.Context) error { return nil }
