package ref

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// unpackSound unpacks layer i. A blob that turns out to be damaged in the
// store is thrown away and fetched once more: else every later build would
// meet it again.
func (im *image) unpackSound(ctx context.Context, i int, rec *record, parent *entry) (*layerindex.Index, error) {
	idx, err := im.unpack(ctx, i, rec, parent)
	if err == nil || ctx.Err() != nil || im.from == nil {
		return idx, err
	}
	desc := im.layers[i].Descriptor
	damaged, derr := im.s.dropDamaged(ctx, desc)
	if derr != nil || !damaged {
		return nil, withCleanup(err, derr)
	}
	log.G(ctx).WithError(err).Warnf("blob %s was damaged in the content store and is fetched again", desc.Digest)
	if ferr := im.fetch(ctx, i, rec.Lease); ferr != nil {
		return nil, fmt.Errorf("blob %s was damaged in the content store and cannot be fetched again: %w", desc.Digest, ferr)
	}
	return im.unpack(ctx, i, rec, parent)
}

// dropDamaged removes a blob whose bytes are not what its digest says, and
// says whether it did.
func (s *Store) dropDamaged(ctx context.Context, desc ocispecs.Descriptor) (bool, error) {
	ctx = s.ctx(ctx)
	sound, err := s.sound(ctx, desc)
	if err != nil || sound {
		return false, err
	}
	if err := s.cfg.Content.Delete(ctx, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
		return false, fmt.Errorf("remove damaged blob %s: %w", desc.Digest, err)
	}
	// Until it is collected, the file would be taken for the blob again.
	if s.cfg.GC != nil {
		if err := s.cfg.GC(ctx); err != nil {
			return false, fmt.Errorf("remove damaged blob %s: %w", desc.Digest, err)
		}
	}
	return true, nil
}

// sound reads a blob and compares it with its digest.
func (s *Store) sound(ctx context.Context, desc ocispecs.Descriptor) (bool, error) {
	ra, err := s.cfg.Content.ReaderAt(ctx, desc)
	if err != nil {
		return false, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	verifier := desc.Digest.Verifier()
	if _, err := io.Copy(verifier, content.NewReader(ra)); err != nil {
		return false, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return verifier.Verified(), nil
}
