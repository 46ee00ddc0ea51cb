package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// The context of the files workload: 50,000 files of 2 KB in 500 folders.
const (
	contextFiles  = 50_000
	contextFolder = 100
	contextSize   = 2_000
)

// files is the COPY of a large context: new, unchanged, and with one file
// changed.
func files() Workload {
	// Each round has a context of its own, so that no daemon has seen a file
	// of it; contexts of earlier rounds stay until the end, because creating
	// files right after removing many is slow on some file systems.
	dir := func(s *Scene, round int) string { return filepath.Join(s.Dir, fmt.Sprintf("round%d", round)) }
	build := func(ctx context.Context, s *Scene, d Daemon, round int) (time.Duration, error) {
		return s.Client.Build(ctx, d, dir(s, round), "--opt=build-arg:BASE="+s.Busybox)
	}
	return Workload{
		Name:    "copy50k",
		Title:   "COPY of 50,000 files (100 MB)",
		Prepare: func(context.Context, *Scene) error { return nil },
		Phases: []Phase{
			{Name: "cold", Run: build, Before: func(_ context.Context, s *Scene, round int) error {
				return fillContext(dir(s, round), contextFiles/s.Scale, s.Run, round)
			}},
			{Name: "unchanged", Run: build},
			{Name: "one changed", Run: build, Before: func(_ context.Context, s *Scene, round int) error {
				return writeFile(filepath.Join(dir(s, round), "tree", "d0", "f0"), "changed in round "+fmt.Sprint(round))
			}},
		},
	}
}

// fillContext writes a Dockerfile and count files of random bytes, the same
// for the same run and round.
func fillContext(dir string, count int, run string, round int) error {
	seed := [32]byte{byte(round)}
	copy(seed[1:], run)
	random := rand.NewChaCha8(seed)
	body := make([]byte, contextSize)
	for i := range count {
		folder := filepath.Join(dir, "tree", fmt.Sprintf("d%d", i/contextFolder))
		if i%contextFolder == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return fmt.Errorf("create context folder: %w", err)
			}
		}
		_, _ = random.Read(body) // Never fails by its contract.
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%d", i%contextFolder)), body, 0o644); err != nil {
			return fmt.Errorf("write context file: %w", err)
		}
	}
	return writeFile(filepath.Join(dir, "Dockerfile"), "ARG BASE\nFROM ${BASE}\nCOPY tree /tree\n")
}
