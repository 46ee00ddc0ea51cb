package config

// Workers are the two sections that say how steps run. kiln has one builder; it reads the section of the host it runs
// on: "oci" for the embedded host, "containerd" as a plugin or beside a containerd.
type Workers struct {
	OCI        OCI        `toml:"oci"`
	Containerd Containerd `toml:"containerd"`
}

// OCI is the [worker.oci] section.
type OCI struct {
	Enabled          *bool             `toml:"enabled"` // nil is "auto"
	Labels           map[string]string `toml:"labels"`
	Platforms        []string          `toml:"platforms"`
	Snapshotter      string            `toml:"snapshotter"`
	Rootless         bool              `toml:"rootless"`
	NoProcessSandbox bool              `toml:"noProcessSandbox"`
	Space
	Network

	UserRemapUnsupported string         `toml:"userRemapUnsupported"`
	Binary               string         `toml:"binary"` // of the OCI runtime
	ProxySnapshotterPath string         `toml:"proxySnapshotterPath"`
	DefaultCgroupParent  string         `toml:"defaultCgroupParent"`
	StargzSnapshotter    map[string]any `toml:"stargzSnapshotter"`
	ApparmorProfile      string         `toml:"apparmor-profile"`
	SELinux              bool           `toml:"selinux"`
	MaxParallelism       int            `toml:"max-parallelism"` // 0 is unlimited
}

// Containerd is the [worker.containerd] section.
type Containerd struct {
	Address   string            `toml:"address"`
	Enabled   *bool             `toml:"enabled"` // nil is "auto"
	Labels    map[string]string `toml:"labels"`
	Platforms []string          `toml:"platforms"`
	Namespace string            `toml:"namespace"`
	Runtime   Runtime           `toml:"runtime"`
	Space
	Network

	Snapshotter         string `toml:"snapshotter"`
	ApparmorProfile     string `toml:"apparmor-profile"`
	SELinux             bool   `toml:"selinux"`
	MaxParallelism      int    `toml:"max-parallelism"` // 0 is unlimited
	DefaultCgroupParent string `toml:"defaultCgroupParent"`
	Rootless            bool   `toml:"rootless"`
}

// Steps returns the section in the form that the builder reads: what [worker.oci] would say. The runtime's binary is the
// one that containerd's shim for runc would start.
func (c *Containerd) Steps() OCI {
	binary, _ := c.Runtime.Options["BinaryName"].(string)
	return OCI{
		Enabled: c.Enabled, Labels: c.Labels, Platforms: c.Platforms, Snapshotter: c.Snapshotter, Rootless: c.Rootless,
		Space: c.Space, Network: c.Network, Binary: binary, DefaultCgroupParent: c.DefaultCgroupParent,
		ApparmorProfile: c.ApparmorProfile, SELinux: c.SELinux, MaxParallelism: c.MaxParallelism,
	}
}

// Runtime is the containerd shim that runs steps.
type Runtime struct {
	Name    string         `toml:"name"`
	Path    string         `toml:"path"`
	Options map[string]any `toml:"options"`
}

// Network says how steps reach the network.
type Network struct {
	Mode          string `toml:"networkMode"` // "auto", "bridge", "cni" or "host"
	CNIConfigPath string `toml:"cniConfigPath"`
	CNIBinaryPath string `toml:"cniBinaryPath"`
	CNIPoolSize   int    `toml:"cniPoolSize"`
	BridgeName    string `toml:"bridgeName"`
	BridgeSubnet  string `toml:"bridgeSubnet"`
}

// Space says what the cache may use of the disk.
type Space struct {
	GC       *bool      `toml:"gc"`            // nil is true; false keeps everything
	Keep     DiskSpace  `toml:"gckeepstorage"` // deprecated: Reserved, where no other limit is set
	Reserved DiskSpace  `toml:"reservedSpace"` // never reclaimed below this
	MaxUsed  DiskSpace  `toml:"maxUsedSpace"`  // reclaimed down to this
	MinFree  DiskSpace  `toml:"minFreeSpace"`  // reclaimed until this much of the disk is free
	Policies []GCPolicy `toml:"gcpolicy"`      // nil means DefaultPolicies
}

// GCPolicy is one rule of what the cache may keep. Limits that are zero do not apply.
type GCPolicy struct {
	All          bool      `toml:"all"`          // also what is shared and internal
	Filters      []string  `toml:"filters"`      // what the rule is about; any of them
	KeepDuration Duration  `toml:"keepDuration"` // keep what was used more recently
	KeepBytes    DiskSpace `toml:"keepBytes"`    // deprecated: Reserved
	Reserved     DiskSpace `toml:"reservedSpace"`
	MaxUsed      DiskSpace `toml:"maxUsedSpace"`
	MinFree      DiskSpace `toml:"minFreeSpace"`
}
