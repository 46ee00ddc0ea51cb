package sidecar

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobs is a containerd's content store over the wire, with three of the wire's gaps closed.
//
// A blob that turns out to be there already is to be held by the caller's lease, or the collector may take it away the
// next moment. In process that is so; but the service behind the socket looks by itself whether a digest that it is told
// to expect is there, and then answers AlreadyExists without a word to the lease. So digests are compared here, and the
// commit goes without; and where the service has looked already, the lease is told from here.
//
// A writer is a stream, which lives until its context ends; here that is when it is closed.
//
// A read is a call with a stream of its own: who reads in order is given larger pieces.
type blobs struct {
	content.Store
	leases leases.Manager
}

// openAttempts bounds how often a blob may come and go while a writer for it is being opened.
const openAttempts = 5

// Writer implements content.Ingester.
func (b *blobs) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var wanted content.WriterOpts
	for _, opt := range opts {
		if err := opt(&wanted); err != nil {
			return nil, err
		}
	}
	for range openAttempts {
		stream, end := context.WithCancel(ctx)
		w, err := b.Store.Writer(stream, opts...)
		if err == nil {
			return &writer{Writer: w, end: end, opened: wanted.Desc.Digest}, nil
		}
		end()
		if !errdefs.IsAlreadyExists(err) || wanted.Desc.Digest == "" {
			return nil, err
		}
		if held, herr := b.hold(ctx, wanted.Desc.Digest); held || herr != nil {
			return nil, errors.Join(err, herr)
		}
	}
	return nil, fmt.Errorf("blob %s is made and removed all the time: %w", wanted.Desc.Digest, errdefs.ErrUnavailable)
}

// ReaderAt implements content.Provider.
func (b *blobs) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	r, err := b.Store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &reader{ReaderAt: r}, nil
}

// hold puts a blob under the lease of ctx, if there is one, and reports whether the blob is still there.
func (b *blobs) hold(ctx context.Context, blob digest.Digest) (bool, error) {
	lease, ok := leases.FromContext(ctx)
	if !ok {
		return true, nil
	}
	err := b.leases.AddResource(ctx, leases.Lease{ID: lease}, leases.Resource{ID: blob.String(), Type: "content"})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return false, fmt.Errorf("hold blob %s: %w", blob, err)
	}
	// Held before it was looked for, so it cannot go in between.
	_, err = b.Info(ctx, blob)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// writer is one stream.
type writer struct {
	content.Writer
	end context.CancelFunc
	// opened is the digest that was told at the opening; the service goes by it if a commit tells none.
	opened digest.Digest
}

// Commit implements content.Writer.
func (w *writer) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	defer w.end()
	if w.Digest() == "" {
		// Nothing was written in this session: what is there from an earlier one is known to the other side.
		if _, err := w.Status(); err != nil {
			return err
		}
	}
	if w.Digest() == expected && (w.opened == "" || w.opened == expected) {
		expected = ""
	}
	return w.Writer.Commit(ctx, size, expected, opts...)
}

// Close implements content.Writer.
func (w *writer) Close() error {
	defer w.end()
	return w.Writer.Close()
}
