package plugin

import (
	"context"
	"path/filepath"

	"github.com/kilnbuild/kiln/solver/executor/network"
	"github.com/kilnbuild/kiln/solver/executor/proxynet"
)

// openNetworks opens what gives steps their networks, behind the recording
// proxy or not.
func (b *Builder) openNetworks(ctx context.Context, opt Options) (*proxynet.Proxies, error) {
	w := &opt.Config.Workers.OCI
	root := filepath.Join(b.host.Root, "networks")
	cfg := network.Config{
		Root: root, Mode: w.Mode, CNIConfig: w.CNIConfigPath, CNIBinaries: w.CNIBinaryPath, PoolSize: w.CNIPoolSize,
		BridgeName: w.BridgeName, BridgeSubnet: w.BridgeSubnet,
	}
	if w.Rootless && (cfg.Mode == "" || cfg.Mode == network.ModeAuto) {
		// Without root there is no network but the one that is there.
		cfg.Mode = network.ModeHost
	}
	if d := opt.Config.DNS; d != nil {
		cfg.Nameservers = d.Nameservers
	}
	var err error
	if b.networks, err = network.Open(ctx, cfg); err != nil {
		return nil, err
	}
	b.later(b.networks.Close)
	return proxynet.New(filepath.Join(root, "proxy"), b.networks)
}
