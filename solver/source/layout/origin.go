package layout

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/session"
)

// headerStore says which of a client's content stores is meant, prefixStore
// that it is a layout; wire format facts.
const (
	headerStore = "buildkit-attachable-store-id"
	prefixStore = "oci:"
)

// origin is one layout of whichever session has it.
type origin struct {
	sessions *session.Manager
	ids      func() []string
	store    string
	digest   digest.Digest
}

// Resolve looks the digest up.
func (o *origin) Resolve(ctx context.Context) (ocispecs.Descriptor, error) {
	var desc ocispecs.Descriptor
	err := o.each(ctx, func(ctx context.Context, s *session.Session, c content.Store) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		info, err := c.Info(ctx, o.digest)
		if err != nil {
			return err
		}
		desc = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: info.Digest, Size: info.Size}
		return nil
	})
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("look for %s in layout %q of the client: %w", o.digest, o.store, err)
	}
	if desc.Digest != o.digest {
		return ocispecs.Descriptor{}, fmt.Errorf("client has %s in layout %q, asked for %s: %w", desc.Digest, o.store, o.digest, errdefs.ErrFailedPrecondition)
	}
	return desc, nil
}

// Fetch opens a blob.
func (o *origin) Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	var out io.ReadCloser
	err := o.each(ctx, func(ctx context.Context, s *session.Session, c content.Store) error {
		// The context must outlive this call: the reader uses it.
		ctx, cancel := s.With(ctx)
		ra, err := c.ReaderAt(ctx, desc)
		if err != nil {
			cancel()
			return err
		}
		out = &reader{SectionReader: io.NewSectionReader(ra, 0, min(ra.Size(), desc.Size+1)), ra: ra, cancel: cancel}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s in layout %q of the client: %w", desc.Digest, o.store, err)
	}
	return out, nil
}

// each calls f with the store of one session after the other until it
// succeeds.
func (o *origin) each(ctx context.Context, f func(context.Context, *session.Session, content.Store) error) error {
	ctx = metadata.AppendToOutgoingContext(ctx, headerStore, prefixStore+o.store)
	return o.sessions.Any(ctx, o.ids(), func(ctx context.Context, s *session.Session) error {
		err := f(ctx, s, proxy.NewContentStore(s.Conn()))
		if errdefs.IsNotImplemented(err) {
			return fmt.Errorf("client offers no layouts: %w", errdefs.ErrNotFound)
		}
		return err
	})
}

// reader reads one blob and gives the call up on Close.
type reader struct {
	*io.SectionReader
	ra     content.ReaderAt
	cancel context.CancelFunc
}

// Close ends the reading.
func (r *reader) Close() error {
	defer r.cancel()
	return r.ra.Close()
}
