package local

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

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/cache/remote/artifact"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
)

// Names of attributes.
const (
	attrDest   = "dest"
	attrSource = "src"
	attrDigest = "digest"
)

// headerStore says which of a client's content stores is meant, prefixStore
// that it is a cache; wire format facts.
const (
	headerStore = "buildkit-attachable-store-id"
	prefixStore = "local:"
)

// Backend is the cache type "local".
type Backend struct{ sessions *session.Manager }

var _ remote.Backend = (*Backend)(nil)

// New returns the backend.
func New(sessions *session.Manager) *Backend { return &Backend{sessions} }

// directory is one content store of whichever session has it.
type directory struct {
	sessions *session.Manager
	env      solver.Env
	name     string
}

// use calls fn with the store. ctx of fn ends with the session.
func (d *directory) use(ctx context.Context, fn func(ctx context.Context, s *session.Session, store content.Store) error) error {
	ctx = metadata.AppendToOutgoingContext(ctx, headerStore, prefixStore+d.name)
	return d.sessions.Any(ctx, d.env.Sessions(), func(ctx context.Context, s *session.Session) error {
		err := fn(ctx, s, proxy.NewContentStore(s.Conn()))
		if errdefs.IsNotImplemented(err) {
			return fmt.Errorf("client offers no directory for caches: %w", errdefs.ErrNotFound)
		}
		return err
	})
}

// Exporter implements remote.Backend.
func (b *Backend) Exporter(_ context.Context, attrs map[string]string, env solver.Env) (remote.Exporter, error) {
	if attrs[attrDest] == "" {
		return nil, fmt.Errorf("local cache exporter requires dest: %w", errdefs.ErrInvalidArgument)
	}
	opts, err := artifact.ParseOptions(attrs)
	if err != nil {
		return nil, err
	}
	if len(env.Sessions()) == 0 {
		return nil, fmt.Errorf("local cache exporter/importer requires session: %w", errdefs.ErrFailedPrecondition)
	}
	return &exporter{dir: &directory{b.sessions, env, attrs[attrDest]}, opts: opts}, nil
}

// exporter writes to one directory.
type exporter struct {
	dir  *directory
	opts artifact.Options
}

// Name implements remote.Exporter.
func (e *exporter) Name() string { return "exporting cache to client directory" }

// Layers implements remote.Exporter.
func (e *exporter) Layers() ref.LayerOptions { return e.opts.Layers }

// Export implements remote.Exporter.
func (e *exporter) Export(ctx context.Context, b *remote.Bundle, blobs content.Provider, env solver.Env) (map[string]string, error) {
	return artifact.Write(ctx, e.opts, b, blobs, e, env)
}

// Blob implements artifact.Target.
func (e *exporter) Blob(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	return e.dir.use(ctx, func(ctx context.Context, s *session.Session, store content.Store) error {
		// Blobs are read with the daemon's context, and written with the
		// client's.
		remote, cancel := s.With(ctx)
		defer cancel()
		w, err := content.OpenWriter(remote, store, content.WithRef("kiln-cache-"+desc.Digest.String()), content.WithDescriptor(desc))
		if errdefs.IsAlreadyExists(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("send blob %s to client: %w", desc.Digest, err)
		}
		defer w.Close()
		r, err := from.ReaderAt(ctx, desc)
		if err != nil {
			return fmt.Errorf("read blob %s: %w", desc.Digest, err)
		}
		defer r.Close()
		err = content.Copy(remote, w, io.NewSectionReader(r, 0, desc.Size), desc.Size, desc.Digest)
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("send blob %s to client: %w", desc.Digest, err)
		}
		return nil
	})
}

// Root implements artifact.Target: to the client it is a blob like others.
func (e *exporter) Root(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	return e.Blob(ctx, desc, from)
}

// Importer implements remote.Backend.
func (b *Backend) Importer(_ context.Context, attrs map[string]string, env solver.Env) (remote.Importer, error) {
	d := digest.Digest(attrs[attrDigest])
	if d == "" {
		return nil, fmt.Errorf("local cache importer requires explicit digest: %w", errdefs.ErrInvalidArgument)
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%s %q: %w: %w", attrDigest, d, err, errdefs.ErrInvalidArgument)
	}
	if attrs[attrSource] == "" {
		return nil, fmt.Errorf("local cache importer requires src: %w", errdefs.ErrInvalidArgument)
	}
	return &importer{dir: &directory{b.sessions, env, attrs[attrSource]}, digest: d}, nil
}

// importer reads one cache of a directory.
type importer struct {
	dir    *directory
	digest digest.Digest
}

// Import implements remote.Importer.
func (i *importer) Import(ctx context.Context, env solver.Env) ([]*remote.Table, error) {
	var root ocispecs.Descriptor
	err := i.dir.use(ctx, func(ctx context.Context, s *session.Session, store content.Store) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		info, err := store.Info(ctx, i.digest)
		root = ocispecs.Descriptor{Digest: i.digest, Size: info.Size}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for %s in directory %q of the client: %w", i.digest, i.dir.name, err)
	}
	return artifact.Read(ctx, root, &remote.Origin{Blobs: i.dir, Name: "directory " + i.dir.name + " of the client"}, env)
}

// Has implements remote.Prober.
func (d *directory) Has(ctx context.Context, desc ocispecs.Descriptor) (bool, error) {
	err := d.use(ctx, func(ctx context.Context, s *session.Session, store content.Store) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		_, err := store.Info(ctx, desc.Digest)
		return err
	})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Fetch implements remote.Blobs.
func (d *directory) Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	var out io.ReadCloser
	err := d.use(ctx, func(ctx context.Context, s *session.Session, store content.Store) error {
		// The context must outlive this call: the reader uses it.
		ctx, cancel := s.With(ctx)
		ra, err := store.ReaderAt(ctx, desc)
		if err != nil {
			cancel()
			return err
		}
		out = &reader{SectionReader: io.NewSectionReader(ra, 0, ra.Size()), ra: ra, cancel: cancel}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s in directory %q of the client: %w", desc.Digest, d.name, err)
	}
	return out, nil
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
