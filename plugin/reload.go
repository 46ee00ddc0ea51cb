package plugin

import "github.com/kilnbuild/kiln/plugin/config"

// Reload takes from a new configuration what can change while builds run: how
// to reach registries, and the rules of garbage collection. It fails without a
// change if the registries are not right.
func (b *Builder) Reload(cfg *config.Config) error {
	if err := b.registries.SetHosts(registryHosts(cfg)); err != nil {
		return err
	}
	b.prune.set(b.policies(cfg))
	return nil
}
