package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// image keeps the result of a build as an image in the daemon's own store, with
// no more asked for than a name: once when the last layer, of 1 GB, was never
// exported, and once more when it was.
func image() Workload {
	options := func(s *Scene, round int) []string {
		return []string{"--opt=build-arg:BASE=" + s.Busybox, fmt.Sprintf("--opt=build-arg:ROUND=%s-image-%d", s.Run, round)}
	}
	export := func(ctx context.Context, s *Scene, d Daemon, round int) (time.Duration, error) {
		return s.Client.Build(ctx, d, s.Dir, append(options(s, round), "--output=type=image,name=kiln.test/bench:latest")...)
	}
	return Workload{
		Name:  "image",
		Title: "image in the daemon's store with a layer of 1 GB",
		Prepare: func(_ context.Context, s *Scene) error {
			if err := sampleFile(filepath.Join(s.Dir, "data"), "/usr", int64(exportSize/s.Scale)); err != nil {
				return err
			}
			return writeFile(filepath.Join(s.Dir, "Dockerfile"), largeLayer)
		},
		Phases: []Phase{
			{
				Name: "new layer",
				Warm: func(ctx context.Context, s *Scene, d Daemon, round int) error {
					_, err := s.Client.Build(ctx, d, s.Dir, options(s, round)...)
					return err
				},
				Run: export,
			},
			{Name: "known layer", Run: export},
		},
	}
}
