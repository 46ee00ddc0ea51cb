package attach

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// headerStore names the store that a call is for.
const headerStore = "buildkit-attachable-store-id"

// Stores offers content stores by id: "export" takes a result, "oci:<name>"
// has an OCI layout, "local:<dir>" a cache.
type Stores map[string]content.Store

// Register adds the service.
func (s Stores) Register(r *grpc.Server) {
	api.RegisterContentServer(r, contentserver.New(chosen(s)))
}

// chosen is a content store that passes every call to the one it names.
type chosen map[string]content.Store

// store returns the store that the caller names in a header.
func (c chosen) store(ctx context.Context) (content.Store, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ids := md.Get(headerStore)
	if len(ids) == 0 {
		return nil, fmt.Errorf("request lacks metadata %q: %w", headerStore, errdefs.ErrInvalidArgument)
	}
	s, ok := c[ids[0]]
	if !ok {
		return nil, fmt.Errorf("unknown store %s: %w", ids[0], errdefs.ErrNotFound)
	}
	return s, nil
}

// Info returns what is known of a blob.
func (c chosen) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	s, err := c.store(ctx)
	if err != nil {
		return content.Info{}, err
	}
	return s.Info(ctx, dgst)
}

// Update changes labels of a blob.
func (c chosen) Update(ctx context.Context, info content.Info, fields ...string) (content.Info, error) {
	s, err := c.store(ctx)
	if err != nil {
		return content.Info{}, err
	}
	return s.Update(ctx, info, fields...)
}

// Walk calls fn for each blob.
func (c chosen) Walk(ctx context.Context, fn content.WalkFunc, filters ...string) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	return s.Walk(ctx, fn, filters...)
}

// Delete is refused: what lies in a user's directory is the user's.
func (c chosen) Delete(context.Context, digest.Digest) error {
	return fmt.Errorf("deleting from a client's store: %w", errdefs.ErrPermissionDenied)
}

// ListStatuses returns the writes under way.
func (c chosen) ListStatuses(ctx context.Context, filters ...string) ([]content.Status, error) {
	s, err := c.store(ctx)
	if err != nil {
		return nil, err
	}
	return s.ListStatuses(ctx, filters...)
}

// Status returns how far a write is.
func (c chosen) Status(ctx context.Context, ref string) (content.Status, error) {
	s, err := c.store(ctx)
	if err != nil {
		return content.Status{}, err
	}
	return s.Status(ctx, ref)
}

// Abort gives a write up.
func (c chosen) Abort(ctx context.Context, ref string) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	return s.Abort(ctx, ref)
}

// Writer starts or resumes a write.
func (c chosen) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	s, err := c.store(ctx)
	if err != nil {
		return nil, err
	}
	return s.Writer(ctx, opts...)
}

// ReaderAt opens a blob.
func (c chosen) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	s, err := c.store(ctx)
	if err != nil {
		return nil, err
	}
	return s.ReaderAt(ctx, desc)
}
