package register

import (
	"cmp"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"

	"github.com/kilnbuild/kiln/plugin/config"
)

// Section is the builder's section as it was written. It is read when the plugin starts, by the reader of kilnd.toml, so
// that both mean and refuse the same.
type Section map[string]any

// defaultNamespace is where images are unless the section says otherwise.
const defaultNamespace = "buildkit"

// keyNamespace is the only key that kilnd.toml does not have.
const keyNamespace = "namespace"

// read returns the configuration with defaults filled in, the namespace and what has no effect.
func (s Section) read() (cfg *config.Config, namespace string, warnings []config.Warning, err error) {
	rest := make(Section, len(s))
	for k, v := range s {
		if k != keyNamespace {
			rest[k] = v
			continue
		}
		text, ok := v.(string)
		if !ok || text == "" {
			return nil, "", nil, fmt.Errorf("namespace is %v: write the name of a namespace: %w", v, errdefs.ErrInvalidArgument)
		}
		namespace = text
	}
	b, err := toml.Marshal(map[string]any(rest))
	if err != nil {
		return nil, "", nil, fmt.Errorf("configuration of builder %s: %w", Name, err)
	}
	cfg, warnings, err = config.Parse(b)
	if err != nil {
		return nil, "", nil, fmt.Errorf("configuration of builder %s: %w", Name, err)
	}
	fillIn(cfg)
	return cfg, cmp.Or(namespace, cfg.Workers.Containerd.Namespace, defaultNamespace), warnings, nil
}

// fillIn sets what was not given, to what kilnd's flags default to.
func fillIn(cfg *config.Config) {
	steps := cfg.Workers.Containerd.Steps()
	n := &steps.Network
	n.Mode = cmp.Or(n.Mode, "auto")
	n.CNIConfigPath = cmp.Or(n.CNIConfigPath, "/etc/buildkit/cni.json")
	n.CNIBinaryPath = cmp.Or(n.CNIBinaryPath, "/opt/cni/bin")
	n.BridgeName = cmp.Or(n.BridgeName, "buildkit0")
	n.BridgeSubnet = cmp.Or(n.BridgeSubnet, "10.10.0.0/16")
	steps.Snapshotter = cmp.Or(steps.Snapshotter, Name)
	cfg.Workers.OCI = steps
	cfg.ProvenanceEnvDir = cmp.Or(cfg.ProvenanceEnvDir, "/etc/buildkit/provenance.d")
	if len(cfg.CDI.SpecDirs) == 0 {
		cfg.CDI.SpecDirs = []string{"/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"}
	}
}
