package main

import (
	"github.com/kilnbuild/kiln/cmd/internal/buildinfo"
	"github.com/kilnbuild/kiln/solver/control"
)

// Set by the linker.
var (
	version  = ""
	revision = ""
)

// versionLine is what --version prints.
func versionLine(name string) string { return buildinfo.Get(version, revision).Line(name) }

// clientVersion is what clients are told.
func clientVersion() control.Version {
	i := buildinfo.Get(version, revision)
	return control.Version{Package: buildinfo.Package, Version: i.Version, Revision: i.Revision, Dockerfile: buildinfo.Dockerfile}
}
