package buildinfo

import (
	"cmp"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"
)

// Package is the module's path, which clients are told.
const Package = "github.com/kilnbuild/kiln"

// Level is the release of BuildKit whose behaviour clients may count on. They
// compare versions to learn what a builder can do, so ours begins with it.
const Level = "v0.32.2"

// Dockerfile is the release of the Dockerfile language that the builtin frontend understands.
const Dockerfile = "1.26.0"

// foreign is what build metadata of a semantic version cannot hold
// (semver.org, rule 10).
var foreign = regexp.MustCompile(`[^0-9A-Za-z.-]+`)

// Info names a build. Version is a semantic version: the Level, and kiln's own
// version as its build metadata, which comparisons leave out. Revision is a
// commit.
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
	own := foreign.ReplaceAllString(strings.TrimPrefix(cmp.Or(version, "unknown"), "v"), "-")
	return Info{Version: Level + "+kiln." + own, Revision: cmp.Or(revision, "unknown")}
}

// Line has four fields, the third of which clients read as the version.
func (i Info) Line(program string) string {
	return fmt.Sprintf("%s %s %s %s", program, Package, i.Version, i.Revision)
}
