package main

import "runtime/debug"

// revision is the commit of kiln, empty if nobody said; the linker sets it.
var revision string

// versions returns what `buildx version` prints: where the program is from,
// buildx's version, and our commit. Compose turns down a buildx that does not
// know its version, so it is the one that was built in.
func versions() (pkg, buildx, commit string) {
	pkg, buildx = "github.com/kilnbuild/kiln/buildxdriver", "v0.0.0+unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return pkg, buildx, revision
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/docker/buildx" {
			buildx = module.Version
		}
	}
	return pkg, buildx, revision
}
