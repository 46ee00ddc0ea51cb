package imagestore

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// ingester is the content store of one import. Transfers get names of their
// own, so that two imports at a time do not continue each other's; those that
// break off are forgotten; and a file that is named after its digest must have
// it.
type ingester struct {
	content.Store
	mu   sync.Mutex
	refs []string
}

// Writer implements content.Ingester.
func (i *ingester) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var w content.WriterOpts
	for _, o := range opts {
		if err := o(&w); err != nil {
			return nil, err
		}
	}
	expected := nameDigest(w.Ref)
	lease, _ := leases.FromContext(ctx)
	ref := lease + "-" + w.Ref
	i.mu.Lock()
	i.refs = append(i.refs, ref)
	i.mu.Unlock()
	out, err := i.Store.Writer(ctx, content.WithRef(ref), content.WithDescriptor(w.Desc))
	if err != nil || expected == "" {
		return out, err
	}
	return &verified{out, expected}, nil
}

// nameDigest is the digest in the name of a file "blobs/sha256/…"; empty for
// other files.
func nameDigest(ref string) digest.Digest {
	algorithm, hex, ok := strings.Cut(strings.TrimPrefix(ref, "tar-blobs/"), "/")
	if !ok || !strings.HasPrefix(ref, "tar-blobs/") {
		return ""
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	if d.Validate() != nil || d.Algorithm() != digest.Canonical {
		return ""
	}
	return d
}

// forget removes what broke off.
func (i *ingester) forget(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, ref := range i.refs {
		if err := i.Abort(ctx, ref); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// verified is a writer whose bytes must have a digest.
type verified struct {
	content.Writer
	expected digest.Digest
}

// Commit implements content.Writer.
func (v *verified) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	if expected == "" {
		expected = v.expected
	}
	return v.Writer.Commit(ctx, size, expected, opts...)
}
