package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/test/fixtures"
)

// Config says what to compare.
type Config struct {
	// Client is the program that asks; see Client.
	Client Client
	// Daemons are compared with the first of them.
	Daemons []Daemon
	// Workloads run one after the other.
	Workloads []Workload
	// Rounds is how often each workload is repeated.
	Rounds int
	// Scale divides sizes; see Scene.
	Scale int
	// Dir is where contexts are made; they need a few GB.
	Dir string
	// Log gets a line per sample while the run goes on.
	Log io.Writer
}

// Run compares the daemons. A failing build ends the run with an error: a
// daemon that does not do the work has no time to compare.
func Run(ctx context.Context, c Config) (r *Report, err error) {
	if len(c.Daemons) == 0 || len(c.Workloads) == 0 || c.Rounds < 1 || c.Scale < 1 {
		return nil, errors.New("nothing to compare: need a daemon, a workload, and rounds and scale of at least 1")
	}
	server, err := fixtures.Start(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	busybox, err := server.PushBusybox(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{Daemons: c.Daemons, Rounds: c.Rounds, Scale: c.Scale}
	if err := report.readMemory("idle", c.Daemons); err != nil {
		return nil, err
	}
	for _, w := range c.Workloads {
		s := &Scene{Busybox: busybox, Push: pusher(server), Client: c.Client, Scale: c.Scale, Run: fmt.Sprint(time.Now().UnixNano())}
		if s.Dir, err = os.MkdirTemp(c.Dir, "bench-"+w.Name+"-"); err != nil {
			return nil, fmt.Errorf("create folder for %s: %w", w.Name, err)
		}
		if err := c.workload(ctx, w, s, report); err != nil {
			return nil, errors.Join(fmt.Errorf("run workload %s: %w", w.Name, err), os.RemoveAll(s.Dir))
		}
		if err := os.RemoveAll(s.Dir); err != nil {
			return nil, fmt.Errorf("remove folder of %s: %w", w.Name, err)
		}
		if err := report.readMemory("after "+w.Name, c.Daemons); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// workload runs all rounds of one workload.
func (c Config) workload(ctx context.Context, w Workload, s *Scene, report *Report) error {
	if err := w.Prepare(ctx, s); err != nil {
		return err
	}
	for round := range c.Rounds {
		order := slices.Clone(c.Daemons)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, phase := range w.Phases {
			if phase.Before != nil {
				if err := phase.Before(ctx, s, round); err != nil {
					return err
				}
			}
			for _, d := range order {
				took, err := phase.measure(ctx, s, d, round)
				if err != nil {
					return err
				}
				sample := Sample{Workload: w.Name, Phase: phase.Name, Daemon: d.Name, Round: round, Seconds: took.Seconds()}
				report.Samples = append(report.Samples, sample)
				if _, err := fmt.Fprintln(c.Log, sample); err != nil {
					return fmt.Errorf("log progress: %w", err)
				}
			}
		}
	}
	return nil
}

// pusher serves raw tars as an image through the fixtures' registry.
func pusher(server *fixtures.Server) func(context.Context, string, string, [][]byte) (string, error) {
	return func(ctx context.Context, name, tag string, tars [][]byte) (string, error) {
		var layers []fixtures.Layer
		for _, raw := range tars {
			layer, err := fixtures.CompressLayer(raw)
			if err != nil {
				return "", err
			}
			layers = append(layers, layer)
		}
		return server.Push(ctx, name, tag, fixtures.Image{Platform: fixtures.Native(), Layers: layers})
	}
}

// DefaultDir is where contexts are made if the caller has no better place: not
// on a tmpfs, which is what the temporary folder often is.
func DefaultDir() string { return filepath.Clean("/var/tmp") }
