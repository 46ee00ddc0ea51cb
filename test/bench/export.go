package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// exportSize is the layer of the export workload in bytes, before scaling.
const exportSize = 1 << 30

// largeLayer copies the file "data" by a step, so that the layer is new for each
// ROUND although its bytes came before.
const largeLayer = `ARG BASE
FROM ${BASE} AS data
COPY data /data
FROM ${BASE}
ARG ROUND
RUN --mount=type=bind,from=data,target=/from cp /from/data /data && echo "$ROUND" > /round
`

// export writes an image with one large layer as an OCI archive, once per
// compression. Its content is this machine's own programs and libraries, which
// compress about as well as what people ship.
func export() Workload {
	w := Workload{
		Name:  "export",
		Title: "oci archive with a layer of 1 GB",
		Prepare: func(_ context.Context, s *Scene) error {
			if err := sampleFile(filepath.Join(s.Dir, "data"), "/usr", int64(exportSize/s.Scale)); err != nil {
				return err
			}
			return writeFile(filepath.Join(s.Dir, "Dockerfile"), largeLayer)
		},
	}
	for _, compression := range []string{"gzip", "zstd", "uncompressed"} {
		// A layer of its own per compression and round: no daemon may answer
		// from a blob it has made before.
		options := func(s *Scene, round int) []string {
			return []string{"--opt=build-arg:BASE=" + s.Busybox, fmt.Sprintf("--opt=build-arg:ROUND=%s-%s-%d", s.Run, compression, round)}
		}
		w.Phases = append(w.Phases, Phase{
			Name: compression,
			Warm: func(ctx context.Context, s *Scene, d Daemon, round int) error {
				_, err := s.Client.Build(ctx, d, s.Dir, options(s, round)...)
				return err
			},
			Run: func(ctx context.Context, s *Scene, d Daemon, round int) (time.Duration, error) {
				return s.Client.Build(ctx, d, s.Dir, append(options(s, round),
					"--output=type=oci,dest=/dev/null,compression="+compression+",force-compression=true")...)
			},
		})
	}
	return w
}

// sampleFile fills path with size bytes of the files below root, in walking
// order, starting again when they do not suffice.
func sampleFile(path, root string, size int64) error {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create sample: %w", err)
	}
	defer out.Close()
	enough := errors.New("enough")
	var written int64
	for written < size {
		before := written
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // What cannot be read does not belong to a sample.
			}
			in, err := os.Open(name)
			if err != nil {
				return nil
			}
			defer in.Close()
			n, err := io.Copy(out, io.LimitReader(in, size-written))
			written += n
			if err == nil && written == size {
				return enough
			}
			return err
		})
		if err != nil && !errors.Is(err, enough) {
			return fmt.Errorf("sample files of %s: %w", root, err)
		}
		if written == before {
			return fmt.Errorf("sample files of %s: there is nothing to read", root)
		}
	}
	return nil
}
