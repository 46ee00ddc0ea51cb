package differ

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ/compress"
	differdiff "github.com/kilnbuild/kiln/differ/diff"
	"github.com/kilnbuild/kiln/differ/linked"
)

// linkable reports whether the blob can share bytes with the files of a pair:
// they are stored as they are, and the directory read is the layer itself and
// not a mount, whose files cannot be linked.
func (c *comparison) linkable(pair differdiff.Pair) bool {
	return c.differ.config.Linked != nil && pair.Layered && c.config.Reference == "" &&
		c.config.Compressor == nil && c.algorithm == compress.Uncompressed
}

// storeLinked makes a linked blob: one pass to hash the tar, and nothing
// written but headers and small files.
func (c *comparison) storeLinked(ctx context.Context, pair differdiff.Pair) (_ Layer, err error) {
	blob, err := c.differ.config.Linked.New(ctx)
	if err != nil {
		return Layer{}, err
	}
	defer func() {
		if cerr := blob.Close(); cerr != nil {
			log.G(ctx).WithError(cerr).Warn("cannot clean up behind a linked blob")
		}
	}()
	index, err := differdiff.Write(ctx, blob, pair, differdiff.Options{
		Epoch:      c.config.SourceDateEpoch,
		UserXattrs: c.differ.config.UserXattrs,
		Linker:     blob,
		NoIndex:    c.noIndex,
	})
	if err != nil {
		return Layer{}, err
	}
	dgst, size, err := blob.Commit(ctx)
	if err != nil {
		return Layer{}, err
	}
	layer := Layer{DiffID: dgst, Linked: true, Index: index}
	desc := ocispec.Descriptor{MediaType: c.config.MediaType, Digest: dgst, Size: size}
	if err := c.publish(ctx, desc); err != nil {
		return Layer{}, err
	}
	return layer, c.describe(ctx, dgst, c.labels(dgst), &layer)
}

// publish makes a blob of the backend known in the namespace and to the lease.
// A store that shares blobs of the backend takes it over as it is; one that
// isolates namespaces wants to see the bytes.
func (c *comparison) publish(ctx context.Context, desc ocispec.Descriptor) (err error) {
	ref := IngestPrefix + rand.Text()
	cw, err := content.OpenWriter(ctx, c.differ.store, content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("publish blob %s: %w", desc.Digest, err)
	}
	defer func() {
		cw.Close()
		if err == nil {
			return
		}
		if aerr := c.differ.store.Abort(context.WithoutCancel(ctx), ref); aerr != nil && !errdefs.IsNotFound(aerr) {
			log.G(ctx).WithError(aerr).WithField("ref", ref).Warn("cannot drop the upload of a linked blob")
		}
	}()
	status, err := cw.Status()
	if err != nil {
		return fmt.Errorf("publish blob %s: %w", desc.Digest, err)
	}
	if status.Offset != desc.Size {
		if err := copyLinked(ctx, c.differ.config.Linked, cw, desc); err != nil {
			return fmt.Errorf("copy blob %s: %w", desc.Digest, err)
		}
	}
	err = cw.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(c.labels(desc.Digest)))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("publish blob %s: %w", desc.Digest, err)
	}
	return nil
}

// copyLinked writes a linked blob out.
func copyLinked(ctx context.Context, from *linked.Store, cw content.Writer, desc ocispec.Descriptor) error {
	ra, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer ra.Close()
	return content.CopyReaderAt(cw, ra, desc.Size)
}
