package registry

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Blob returns the bytes that have a digest, whatever they are, not verified,
// and how many there are; -1 if the registry does not say. The reader holds one
// of the host's slots until it is closed, which the caller must do. The error
// of a blob that is not there has no kind, only the registry's answer.
func (r *Repository) Blob(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	ctx = quiet(withPatience(ctx))
	release, err := r.client.limits.acquire(ctx, r.Host(), "")
	if err != nil {
		return nil, 0, err
	}
	f, err := r.resolver(nil).Fetcher(ctx, r.spec.String())
	if err != nil {
		release()
		return nil, 0, r.explain(ctx, err, pullDenied)
	}
	by, ok := f.(remotes.FetcherByDigest)
	if !ok {
		release()
		return nil, 0, fmt.Errorf("fetch %s from %s by digest: %w", d, r.Host(), errdefs.ErrNotImplemented)
	}
	rc, desc, err := by.FetchByDigest(ctx, d)
	if err != nil {
		release()
		return nil, 0, r.explain(ctx, err, pullDenied)
	}
	size := desc.Size
	if size <= 0 {
		size = -1
	}
	return &blobReader{rc: rc, repo: r, ctx: ctx, release: release}, size, nil
}
