package proxy

import (
	"bytes"
	"fmt"
	"text/template"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/snapshotter"
)

// Names of the two plugins in a containerd's configuration. Proxy plugins of all types share one table, so the differ
// cannot have the snapshotter's name.
const (
	SnapshotterName = "kiln"
	DifferName      = "kiln-diff"
)

// DefaultAddress is where kilnd offers its parts unless told otherwise.
const DefaultAddress = "/run/kiln/proxy.sock"

// containerdConfig is what a containerd needs to know. Strings are quoted the way Go and TOML agree on.
var containerdConfig = template.Must(template.New("containerd").Parse(`# kiln's snapshotter and differ, served by kilnd. Restart containerd after a change.
{{- if .Version }}
version = {{ .Version }}
{{- end }}

[proxy_plugins.{{ .Snapshotter }}]
  type = "snapshot"
  address = {{ printf "%q" .Address }}
  capabilities = [{{ printf "%q" .Capability }}]

[proxy_plugins.{{ .Differ }}]
  type = "diff"
  address = {{ printf "%q" .Address }}

# The first differ that knows a media type is used.
[plugins."{{ .DiffService }}"]
  default = [{{ printf "%q" .Differ }}, "walking"]
`))

// Settings are the inputs of Configuration.
type Settings struct {
	// Address is the path of the socket; empty is DefaultAddress.
	Address string
	// Version of the configuration's format: 2 for containerd 1.7, 3 for 2.0 to 2.2, 4 since 2.3, which reads the older
	// ones too. 0 leaves it out, for appending to a file that has one.
	Version int
}

// Configuration returns the part of a containerd's configuration that makes it use an offer.
func Configuration(s Settings) ([]byte, error) {
	if s.Address == "" {
		s.Address = DefaultAddress
	}
	if s.Address[0] != '/' {
		return nil, fmt.Errorf("address %q: write the absolute path of a socket: %w", s.Address, errdefs.ErrInvalidArgument)
	}
	if s.Version != 0 && (s.Version < 2 || s.Version > 4) {
		return nil, fmt.Errorf("configuration version %d: containerd reads 2, 3 and 4: %w", s.Version, errdefs.ErrInvalidArgument)
	}
	var b bytes.Buffer
	err := containerdConfig.Execute(&b, map[string]any{
		"Address": s.Address, "Version": s.Version, "Capability": snapshotter.MergeCap, "Snapshotter": SnapshotterName,
		"Differ": DifferName, "DiffService": "io.containerd.service.v1.diff-service",
	})
	return b.Bytes(), err
}
