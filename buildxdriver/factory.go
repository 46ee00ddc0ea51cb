package buildxdriver

import (
	"context"
	"os"

	"github.com/docker/buildx/driver"
	dockerclient "github.com/moby/moby/client"
)

// Name is what --driver takes.
const Name = "kiln"

// lastResort is behind the numbers of all of buildx's own drivers: a builder
// is of this kind only if its maker has said so.
const lastResort = 95

// Register makes the driver known to buildx. It must be called before buildx's
// commands are made, which list the drivers.
func Register() { driver.Register(Factory{}) }

// Factory makes drivers; see driver.Factory. The zero value is ready for use.
type Factory struct{}

// Name implements driver.Factory.
func (Factory) Name() string { return Name }

// Usage implements driver.Factory.
func (Factory) Usage() string { return Name }

// Priority implements driver.Factory.
func (Factory) Priority(context.Context, string, dockerclient.APIClient, map[string][]string) int {
	return lastResort
}

// AllowsInstances implements driver.Factory.
func (Factory) AllowsInstances() bool { return true }

// New implements driver.Factory. It touches nothing but the node's options:
// an unknown one, or a path that is not absolute, is an error.
func (f Factory) New(_ context.Context, cfg driver.InitConfig) (driver.Driver, error) {
	opts, err := parseOptions(cfg, os.LookupEnv, os.Geteuid())
	if err != nil {
		return nil, err
	}
	return &Driver{factory: f, cfg: cfg, opts: opts}, nil
}
