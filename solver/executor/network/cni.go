package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	cni "github.com/containerd/go-cni"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// otherBinaries are searched for plugins after the default directory.
var otherBinaries = []string{"/usr/lib/cni", "/usr/libexec/cni"}

// plugins connects namespaces with what the user's CNI configuration says.
type plugins struct {
	cni cni.CNI

	mu sync.Mutex
	// host is what gateway returns.
	host netip.Addr
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
	result, err := p.cni.Setup(ctx, s.id, s.Path(), p.options(s)...)
	if err != nil {
		return fmt.Errorf("CNI setup error: %w", err)
	}
	p.learn(result)
	return nil
}

// learn takes the gateway out of what the plugins made, if it is this machine.
// With networks that go past it, such as macvlan, it is another one.
func (p *plugins) learn(result *cni.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.host.IsValid() {
		return
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	for _, network := range result.Raw() {
		for _, ip := range network.IPs {
			if gateway, ok := netip.AddrFromSlice(ip.Gateway); ok && has(own, gateway.Unmap()) {
				p.host = gateway.Unmap()
				return
			}
		}
	}
}

// has reports whether the address is among those of devices.
func has(addrs []net.Addr, want netip.Addr) bool {
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(want.AsSlice()) {
			return true
		}
	}
	return false
}

func (p *plugins) gateway() netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.host
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
