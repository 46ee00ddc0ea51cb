package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// chain is fifty RUN steps that do next to nothing: what is measured is what a
// step costs.
func chain() Workload {
	build := func(ctx context.Context, s *Scene, d Daemon, round int) (time.Duration, error) {
		return s.Client.Build(ctx, d, s.Dir, "--opt=build-arg:BASE="+s.Busybox, fmt.Sprintf("--opt=build-arg:ROUND=%s-%d", s.Run, round))
	}
	return Workload{
		Name:  "run50",
		Title: "50 chained RUN on busybox",
		Prepare: func(_ context.Context, s *Scene) error {
			var b strings.Builder
			b.WriteString("ARG BASE\nFROM ${BASE}\nARG ROUND\n")
			for i := range max(1, 50/s.Scale) {
				fmt.Fprintf(&b, "RUN echo \"$ROUND\" > /step%d\n", i)
			}
			return writeFile(filepath.Join(s.Dir, "Dockerfile"), b.String())
		},
		Phases: []Phase{
			// The base image is pulled outside the measurement.
			{Name: "uncached", Run: build, Warm: func(ctx context.Context, s *Scene, d Daemon, round int) error {
				warm := filepath.Join(s.Dir, "warm")
				if err := os.MkdirAll(warm, 0o755); err != nil {
					return fmt.Errorf("create warm-up folder: %w", err)
				}
				if err := writeFile(filepath.Join(warm, "Dockerfile"), "ARG BASE\nFROM ${BASE}\nRUN true\n"); err != nil {
					return err
				}
				_, err := s.Client.Build(ctx, d, warm, "--opt=build-arg:BASE="+s.Busybox)
				return err
			}},
			{Name: "cached", Run: build},
		},
	}
}

// writeFile writes a small text file.
func writeFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
