package proxy

// Names of the two plugins in a containerd's configuration; "kiln install-proxy" writes them. Proxy plugins of all types
// share one table, so the differ cannot have the snapshotter's name.
const (
	SnapshotterName = "kiln"
	DifferName      = "kiln-diff"
)
