package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd/command"

	"github.com/kilnbuild/kiln/cmd/internal/buildinfo"
	"github.com/kilnbuild/kiln/plugin/register"
	"github.com/kilnbuild/kiln/solver/control"

	// All that a stock containerd has.
	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
)

// Set by the linker.
var (
	version  = ""
	revision = ""
)

func main() {
	i := buildinfo.Get(version, revision)
	register.Version = control.Version{
		Package: buildinfo.Package, Version: i.Version, Revision: i.Revision, Dockerfile: buildinfo.Dockerfile,
	}
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "containerd-kiln:", err)
		os.Exit(1)
	}
}
