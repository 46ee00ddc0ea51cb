package main

import (
	"fmt"
	"runtime/debug"

	"github.com/kilnbuild/kiln/solver/control"
)

// Set by the linker; a build without it says what Go recorded.
var (
	version  = ""
	revision = ""
)

const modulePath = "github.com/kilnbuild/kiln"

// versionLine has four fields, as that of the daemon.
func versionLine(name string) string {
	v := clientVersion()
	return fmt.Sprintf("%s %s %s %s", name, v.Package, v.Version, v.Revision)
}

// dockerfileVersion is the release of the Dockerfile language that the builtin frontend understands.
const dockerfileVersion = "1.26.0"

// clientVersion is what clients are told.
func clientVersion() control.Version {
	v, r := version, revision
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && r == "" {
				r = s.Value
			}
		}
	}
	if v == "" {
		v = "v0.0.0+unknown"
	}
	if r == "" {
		r = "unknown"
	}
	return control.Version{Package: modulePath, Version: v, Revision: r, Dockerfile: dockerfileVersion}
}
