package plugin

import (
	"context"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/history"
)

// historyNamespace is where the blobs of a builder's history are: apart from
// the builder's own, so that they are not in the way of what clients list, and
// no prune takes them.
func historyNamespace(of string) string { return of + "_history" }

// openHistory opens the records of builds.
func (b *Builder) openHistory(ctx context.Context, opt Options) (*history.Store, error) {
	h := &b.host
	cfg := history.Config{
		Root: filepath.Join(h.Root, "history"), Content: h.Content, Leases: h.Leases,
		Namespace: historyNamespace(h.Namespace), BuildNamespace: h.Namespace, Durable: h.Sync,
	}
	if opt.Traces != nil {
		cfg.Traces = opt.Traces
	}
	if limits := opt.Config.History; limits != nil {
		cfg.MaxAge, cfg.MaxEntries = limits.MaxAge.Duration, int(limits.MaxEntries)
	}
	s, err := history.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b.later(s.Close)
	return s, nil
}

// remembered is a content store in which clients also find the blobs of the
// history, which they know from its records.
type remembered struct {
	content.Store
	namespace string
}

// Info looks in the history for what is not elsewhere.
func (r remembered) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	info, err := r.Store.Info(ctx, dgst)
	if errdefs.IsNotFound(err) {
		return r.Store.Info(namespaces.WithNamespace(ctx, r.namespace), dgst)
	}
	return info, err
}

// ReaderAt looks in the history for what is not elsewhere.
func (r remembered) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	at, err := r.Store.ReaderAt(ctx, desc)
	if errdefs.IsNotFound(err) {
		return r.Store.ReaderAt(namespaces.WithNamespace(ctx, r.namespace), desc)
	}
	return at, err
}
