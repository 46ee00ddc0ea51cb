package diagnose

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/pb/diagnose"
)

// Config is what a Diagnoser tells about.
type Config struct {
	// Version is what the program says that it is.
	Version string
	// Settings is what the daemon runs with; any type that becomes JSON.
	Settings any
	// Root is the state directory, for the space on its disk.
	Root string
	// Metrics are those of the daemon.
	Metrics prometheus.Gatherer
	// Environ returns the environment, name=value.
	Environ func() []string
	// Now tells the time.
	Now func() time.Time
}

// Diagnoser tells what a daemon knows of itself. Make it with New.
type Diagnoser struct {
	diagnose.UnimplementedDiagnoseServer
	config  Config
	started time.Time
	cache   atomic.Pointer[cache.Inspector]
	flight  flight
	// reporting is held while a report is made.
	reporting sync.Mutex
}

// New returns a Diagnoser without a cache.
func New(cfg Config) *Diagnoser { return &Diagnoser{config: cfg, started: cfg.Now()} }

// SetCache says where the build cache can be looked into.
func (d *Diagnoser) SetCache(c cache.Inspector) { d.cache.Store(&c) }

// inspector returns the build cache, nil as long as there is none.
func (d *Diagnoser) inspector() cache.Inspector {
	if c := d.cache.Load(); c != nil {
		return *c
	}
	return nil
}
