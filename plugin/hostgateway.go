package plugin

import (
	"cmp"
	"net/netip"

	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/solver/executor/network"
)

// hostGateway is the address by which steps reach this machine, which clients
// put behind names of hosts; empty if only the user's own network
// configuration knows it.
func (b *Builder) hostGateway(cfg *config.Config) string {
	switch b.networks.Mode() {
	case network.ModeHost:
		return "127.0.0.1"
	case network.ModeBridge:
		subnet, err := netip.ParsePrefix(cmp.Or(cfg.Workers.OCI.BridgeSubnet, network.DefaultBridgeSubnet))
		if err != nil {
			return ""
		}
		return subnet.Masked().Addr().Next().String()
	}
	return ""
}
