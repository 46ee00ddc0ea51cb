package history

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

// Media types of blobs, as clients know them; the second one's spelling is a
// fact.
const (
	mediaLog   = "application/vnd.buildkit.status.v0"
	mediaError = "application/vnd.googeapis.google.rpc.status+proto"
	mediaTrace = "application/vnd.buildkit.otlp.json.v0"
	// mediaStatement is that of a predicate, whatever it says.
	mediaStatement = "application/vnd.in-toto+json"
)

// annotationPredicate on a descriptor tells what kind of predicate it is.
const annotationPredicate = "in-toto.io/predicate-type"

// maxManifest bounds the manifests and configs that are kept with a record.
const maxManifest = 8 << 20

// leaseID names the lease of a record.
func leaseID(ref string) string { return "ref_" + ref }

// own returns ctx in the history's namespace.
func (s *Store) own(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.cfg.Namespace)
}

// lease returns ctx under the lease of a record, which it makes if need be.
func (s *Store) lease(ctx context.Context, ref string) (context.Context, error) {
	ctx = s.own(ctx)
	_, err := s.cfg.Leases.Create(ctx, leases.WithID(leaseID(ref)))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, fmt.Errorf("make lease of build record: %w", err)
	}
	return leases.WithLease(ctx, leaseID(ref)), nil
}

// dropBlobs gives up the blobs of a record.
func (s *Store) dropBlobs(ctx context.Context, ref string) error {
	err := s.cfg.Leases.Delete(s.own(ctx), leases.Lease{ID: leaseID(ref)})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete blobs of build record: %w", err)
	}
	return nil
}

// writeBlob stores what fill writes; ctx is one of lease.
func (s *Store) writeBlob(ctx context.Context, media string, fill func(io.Writer) error) (_ *control.Descriptor, err error) {
	name := "history-" + rand.Text()
	w, err := content.OpenWriter(ctx, s.cfg.Content, content.WithRef(name))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", media, err)
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if err != nil {
			_ = s.cfg.Content.Abort(context.WithoutCancel(ctx), name)
		}
	}()
	size := &counting{w: w}
	if err := fill(size); err != nil {
		return nil, fmt.Errorf("write %s: %w", media, err)
	}
	dgst := w.Digest()
	if err := w.Commit(ctx, size.n, dgst); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, fmt.Errorf("write %s: %w", media, err)
	}
	// A blob that was there already is not in the lease yet.
	id, _ := leases.FromContext(ctx)
	err = s.cfg.Leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: dgst.String(), Type: "content"})
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", media, err)
	}
	return &control.Descriptor{MediaType: media, Digest: dgst.String(), Size: size.n}, nil
}

// counting counts what is written.
type counting struct {
	w io.Writer
	n int64
}

// Write passes p on.
func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// keepOutput copies the manifests and configs of an output, so that they can
// be read as long as the record is there. Layers, and what the store does not
// have, are passed over. ctx is one of lease.
func (s *Store) keepOutput(ctx context.Context, desc ocispecs.Descriptor) error {
	source := namespaces.WithNamespace(ctx, s.cfg.BuildNamespace)
	todo := []ocispecs.Descriptor{desc}
	seen := map[digest.Digest]bool{}
	for len(todo) > 0 {
		d := todo[0]
		todo = todo[1:]
		if seen[d.Digest] || images.IsLayerType(d.MediaType) || d.Size > maxManifest {
			continue
		}
		seen[d.Digest] = true
		data, err := content.ReadBlob(source, s.cfg.Content, d)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keep output %s: %w", d.Digest, err)
		}
		err = content.WriteBlob(ctx, s.cfg.Content, "history-output-"+d.Digest.String(), bytes.NewReader(data), d)
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("keep output %s: %w", d.Digest, err)
		}
		children, err := images.Children(source, s.cfg.Content, d)
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("keep output %s: %w", d.Digest, err)
		}
		todo = append(todo, children...)
	}
	return nil
}
