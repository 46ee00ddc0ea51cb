package main

import "github.com/kilnbuild/kiln/cmd/internal/buildinfo"

// Set by the linker.
var (
	version  = ""
	revision = ""
)

// versionLine is what --version prints.
func versionLine(name string) string { return buildinfo.Get(version, revision).Line(name) }
