package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The image of the pull workload: four layers of 64 MiB in files of 64 KiB.
const (
	pullLayers    = 4
	pullLayerSize = 64 << 20
	pullFileSize  = 64 << 10
)

// pull fetches and unpacks an image no daemon has seen.
func pull() Workload {
	ref := func(s *Scene) string { return filepath.Join(s.Dir, "reference") }
	return Workload{
		Name:  "pull",
		Title: "pull and unpack four layers (256 MB)",
		Prepare: func(_ context.Context, s *Scene) error {
			if err := writeFile(filepath.Join(s.Dir, "Dockerfile"), "ARG IMAGE\nFROM ${IMAGE}\nWORKDIR /made\n"); err != nil {
				return err
			}
			return sampleFile(filepath.Join(s.Dir, "data"), "/usr", int64(pullLayers*pullLayerSize/s.Scale))
		},
		Phases: []Phase{{
			Name: "cold",
			Before: func(ctx context.Context, s *Scene, round int) error {
				layers, err := pullTars(filepath.Join(s.Dir, "data"), pullLayerSize/s.Scale, fmt.Sprintf("%s-%d", s.Run, round))
				if err != nil {
					return err
				}
				image, err := s.Push(ctx, "pull", fmt.Sprintf("%s-%d", s.Run, round), layers)
				if err != nil {
					return err
				}
				return writeFile(ref(s), image)
			},
			// WORKDIR makes the daemon mount the result, so unpacking cannot
			// be put off.
			Run: func(ctx context.Context, s *Scene, d Daemon, _ int) (time.Duration, error) {
				image, err := os.ReadFile(ref(s))
				if err != nil {
					return 0, fmt.Errorf("read reference: %w", err)
				}
				return s.Client.Build(ctx, d, s.Dir, "--opt=build-arg:IMAGE="+string(image))
			},
		}},
	}
}

// pullTars cuts the sample into layers of files and marks each with the stamp,
// which makes them new to everybody.
func pullTars(sample string, layerSize int, stamp string) ([][]byte, error) {
	in, err := os.Open(sample)
	if err != nil {
		return nil, fmt.Errorf("open sample: %w", err)
	}
	defer in.Close()
	var layers [][]byte
	body := make([]byte, pullFileSize)
	for l := range pullLayers {
		var layer bytes.Buffer
		tw := tar.NewWriter(&layer)
		add := func(name string, content []byte) error {
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
				return err
			}
			_, err := tw.Write(content)
			return err
		}
		if err := add(fmt.Sprintf("stamp%d", l), []byte(stamp)); err != nil {
			return nil, fmt.Errorf("write layer: %w", err)
		}
		for i := range max(1, layerSize/pullFileSize) {
			n, err := io.ReadFull(in, body)
			if err != nil && n == 0 {
				break
			}
			if err := add(fmt.Sprintf("data%d/f%d", l, i), body[:n]); err != nil {
				return nil, fmt.Errorf("write layer: %w", err)
			}
		}
		if err := tw.Close(); err != nil {
			return nil, fmt.Errorf("end layer: %w", err)
		}
		layers = append(layers, layer.Bytes())
	}
	return layers, nil
}
