package buildinfo

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// Package is the module's path, which clients are told.
const Package = "github.com/kilnbuild/kiln"

// Dockerfile is the release of the Dockerfile language that the builtin frontend understands.
const Dockerfile = "1.26.0"

// Info names a build.
type Info struct {
	Version, Revision string
}

// Get completes what the linker stamped; both may be empty.
func Get(version, revision string) Info {
	if info, ok := debug.ReadBuildInfo(); ok {
		if version == "" && info.Main.Version != "(devel)" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && revision == "" {
				revision = s.Value
			}
		}
	}
	return Info{Version: cmp.Or(version, "v0.0.0+unknown"), Revision: cmp.Or(revision, "unknown")}
}

// Line has four fields, the third of which clients read as the version.
func (i Info) Line(program string) string {
	return fmt.Sprintf("%s %s %s %s", program, Package, i.Version, i.Revision)
}
