package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/export/manifest"
)

// maxSettled bounds the images that an Exporter remembers.
const maxSettled = 256

// settled remembers what images looked like in the stores when they were last
// made durable. An export that finds all of it as it was has nothing to wait
// for: a rebuild without changes costs no flush, which on a busy disk takes
// longer than the build. It may be used concurrently.
type settled struct {
	mu sync.Mutex
	// states by the digest of the image's root.
	states map[digest.Digest]state
}

// state stands for names, blobs and snapshot of an image, with the times at
// which each was written.
type state [sha256.Size]byte

// has reports whether the image looked like this when it was made durable.
func (s *settled) has(root digest.Digest, st state) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.states[root]
	return ok && old == st
}

// add notes that the image is durable as it looked before the flush began.
func (s *settled) add(root digest.Digest, st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil || len(s.states) >= maxSettled {
		s.states = map[digest.Digest]state{}
	}
	s.states[root] = st
}

// written is one thing in a store, and when it was written.
type written struct {
	What             any
	Created, Updated time.Time
}

// look returns the state of an image with its entries in the image store, and
// of the snapshot it is unpacked to unless that is empty.
func (cfg *Config) look(ctx context.Context, im *manifest.Image, entries []images.Image, snapshot string) (state, error) {
	var all []written
	for _, e := range entries {
		all = append(all, written{[]any{e.Name, e.Target.Digest, e.Target.Annotations}, e.CreatedAt, e.UpdatedAt})
	}
	blobs := im.Blobs()
	if im.Index {
		blobs = append(blobs, im.Children()...)
	}
	for _, d := range append(blobs, im.Descriptor) {
		info, err := cfg.Content.Info(ctx, d.Digest)
		if err != nil {
			return state{}, fmt.Errorf("look at exported blob: %w", err)
		}
		all = append(all, written{info.Digest, info.CreatedAt, info.UpdatedAt})
	}
	if snapshot != "" {
		info, err := cfg.Snapshotter.Stat(ctx, snapshot)
		if err != nil {
			return state{}, fmt.Errorf("look at unpacked image: %w", err)
		}
		all = append(all, written{info.Name, info.Created, info.Updated})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return state{}, fmt.Errorf("look at exported image: %w", err)
	}
	return sha256.Sum256(text), nil
}
