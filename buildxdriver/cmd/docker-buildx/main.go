package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/docker/buildx/commands"
	buildxversion "github.com/docker/buildx/version"
	"github.com/docker/cli/cli-plugins/metadata"
	"github.com/docker/cli/cli-plugins/plugin"
	"github.com/docker/cli/cli/command"
	"github.com/moby/buildkit/util/stack"

	"github.com/kilnbuild/kiln/buildxdriver"

	// buildx's own drivers register themselves, as does what they need: the
	// client's codec, sign-on to clusters, and traces.
	_ "github.com/docker/buildx/driver/docker"
	_ "github.com/docker/buildx/driver/docker-container"
	_ "github.com/docker/buildx/driver/kubernetes"
	_ "github.com/docker/buildx/driver/remote"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto"
	_ "github.com/moby/buildkit/util/tracing/childprocess"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc"
)

func main() {
	buildxversion.Package, buildxversion.Version, buildxversion.Revision = versions()
	stack.SetVersionInfo(buildxversion.Version, buildxversion.Revision)
	quietTraces()
	buildxdriver.Register()
	cli, err := command.NewDockerCli()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(report(cli.Err(), profiled(func() error { return run(cli) })))
}

// run is buildx, as docker's plugin or on its own.
func run(cli *command.DockerCli) error {
	if !plugin.RunningStandalone() {
		return plugin.RunPlugin(cli, commands.NewRootCmd("buildx", true, cli), metadata.Metadata{
			SchemaVersion: "0.1.0",
			Vendor:        "kiln",
			Version:       buildxversion.Version,
		})
	}
	defer flushMetrics(cli)
	return commands.NewRootCmd(filepath.Base(os.Args[0]), false, cli).Execute()
}
