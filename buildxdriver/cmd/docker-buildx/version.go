package main

import "runtime/debug"

// version is kiln's; the Makefile stamps it.
var version = "unknown"

// versions returns what `buildx version` prints: where the program is from,
// buildx's version, and ours. Compose turns down a buildx that does not know
// its version, so it is the one that was built in.
func versions() (pkg, buildx, revision string) {
	pkg, buildx = "github.com/kilnbuild/kiln/buildxdriver", "v0.0.0+unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return pkg, buildx, version
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/docker/buildx" {
			buildx = module.Version
		}
	}
	return pkg, buildx, version
}
