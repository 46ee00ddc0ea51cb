package bench

import (
	"context"
	"fmt"
	"time"
)

// Scene is where a workload plays.
type Scene struct {
	// Dir is the workload's own folder; it starts empty and goes with the run.
	Dir string
	// Busybox is the reference of the base image.
	Busybox string
	// Push serves an image made of raw layers and returns its reference.
	Push func(ctx context.Context, name, tag string, layers [][]byte) (string, error)
	// Client asks the daemons.
	Client Client
	// Scale divides every size, for a quick look; 1 is the real thing.
	Scale int
	// Run tells runs on one daemon apart, so that nothing is cached from the
	// last one.
	Run string
}

// Workload is a kind of build that users wait for.
type Workload struct {
	// Name selects it on the command line.
	Name string
	// Title says what is built.
	Title string
	// Prepare fills the scene's folder, once.
	Prepare func(ctx context.Context, s *Scene) error
	// Phases run in this order in every round.
	Phases []Phase
}

// Phase is one measured step of a workload.
type Phase struct {
	// Name is unique within the workload.
	Name string
	// Before, if set, changes the scene once per round, before any daemon
	// runs the phase.
	Before func(ctx context.Context, s *Scene, round int) error
	// Warm, if set, runs on the daemon right before Run and is not measured.
	Warm func(ctx context.Context, s *Scene, d Daemon, round int) error
	// Run does the work and returns how long it took.
	Run func(ctx context.Context, s *Scene, d Daemon, round int) (time.Duration, error)
}

// measure warms the daemon up and runs the phase on it.
func (p Phase) measure(ctx context.Context, s *Scene, d Daemon, round int) (time.Duration, error) {
	if p.Warm != nil {
		if err := p.Warm(ctx, s, d, round); err != nil {
			return 0, fmt.Errorf("warm up %s: %w", p.Name, err)
		}
	}
	took, err := p.Run(ctx, s, d, round)
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", p.Name, err)
	}
	return took, nil
}

// Workloads lists what the harness knows, in the order of the table.
func Workloads() []Workload {
	return []Workload{chain(), files(), export(), image(), pull()}
}
