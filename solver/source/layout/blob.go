package layout

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/session"
)

// OpenBlob returns the bytes that have a digest in a layout that one of the
// sessions ids offers under a name, not verified, and how many there are. The
// caller closes the reader.
func OpenBlob(ctx context.Context, m *session.Manager, ids []string, store string, d digest.Digest) (io.ReadCloser, int64, error) {
	o := &origin{sessions: m, ids: func() []string { return ids }, store: store, digest: d}
	desc, err := o.Resolve(ctx)
	if err != nil {
		return nil, 0, err
	}
	rc, err := o.Fetch(ctx, desc)
	return rc, desc.Size, err
}
