package files

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// copying is the status of transfers; displays know the activity by its name.
const (
	copying      = "copying files"
	transferring = "transferring"
)

// sender sends trees to one client.
type sender struct {
	client *session.Session
	target export.Target
	split  bool
}

// each sends every tree in a transfer of its own, side by side.
func (s *sender) each(ctx context.Context, trees []platformTree) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range trees {
		group.Go(func() error {
			label := copying
			if s.split {
				label += " " + t.id
			}
			return s.push(ctx, t.Tree, label, false)
		})
	}
	return group.Wait()
}

// together sends all trees in one transfer, so that the client can remove what
// is in none of them.
func (s *sender) together(ctx context.Context, trees []platformTree) error {
	return s.push(ctx, newMerged(trees), copying, true)
}

func (s *sender) push(ctx context.Context, tree files.Tree, label string, multi bool) error {
	counter := progress.Reporter{To: s.target.Env}.Counter(label, transferring, 0)
	defer counter.Done()
	return files.Push(ctx, s.client, files.Target{ID: s.target.ID, Multi: multi}, tree, func(n int) { counter.Add(int64(n)) })
}

// tar sends all trees as one stream.
func (s *sender) tar(ctx context.Context, trees []platformTree) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := files.PushStream(ctx, s.client, files.Target{ID: s.target.ID})
	if err != nil {
		return err
	}
	defer progress.Status(s.target.Env, "sending tarball", "").Done()
	if err := writeTar(ctx, w, newMerged(trees)); err != nil {
		// The client must not take an orderly end for a complete tar. What
		// Close says then is only that the stream was cancelled.
		cancel()
		_ = w.Close()
		return err
	}
	return w.Close()
}
