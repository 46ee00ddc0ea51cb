package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxTransfers is how often the transfer of a blob is begun.
	maxTransfers = 4
	// transferPause is the pause before the second; it doubles.
	transferPause = time.Second
)

// transfer brings a blob into the content store.
type transfer struct {
	store content.Store
	from  Origin
	desc  ocispecs.Descriptor
	name  string // of the image, for errors
	pause time.Duration
}

// run transfers the blob, unless it is there, under the lease in ctx. A broken
// connection is resumed; bytes that are not what the digest says are asked of
// the origin itself if they came from somebody else. Nothing is left behind
// on failure.
func (t *transfer) run(ctx context.Context) error {
	pause := t.pause
	for try := 1; ; try++ {
		err := t.attempt(ctx, &try, &pause)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errdefs.IsFailedPrecondition(err) {
			if d, ok := t.from.(Detour); ok {
				if direct := d.Direct(); direct != nil {
					t.from = direct
					continue
				}
			}
			err = fmt.Errorf("content is not what its digest says: %w", err)
		}
		return fmt.Errorf("fetch blob %s of %s: %w", t.desc.Digest, t.name, err)
	}
}

// attempt fills one ingest, through several connections if need be.
func (t *transfer) attempt(ctx context.Context, try *int, pause *time.Duration) (err error) {
	key := remotes.MakeRefKey(ctx, t.desc)
	// The writer before the origin: whoever waits for the writer must not hold
	// a connection that the one who has it may be waiting for.
	w, err := content.OpenWriter(ctx, t.store, content.WithRef(key), content.WithDescriptor(t.desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer func() {
		if err != nil {
			// Aborted while it is ours: afterwards it may be somebody else's.
			if aerr := t.store.Abort(context.WithoutCancel(ctx), key); aerr != nil && !errdefs.IsNotFound(aerr) {
				err = fmt.Errorf("%w (and cleaning up: %w)", err, aerr)
			}
		}
		if cerr := w.Close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	for {
		err = t.connect(ctx, w)
		if err == nil || *try >= maxTransfers || !broken(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(*pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		*try++
		*pause *= 2
	}
}

// connect copies what is missing from one connection and commits.
func (t *transfer) connect(ctx context.Context, w content.Writer) error {
	rc, err := t.from.Fetch(ctx, t.desc)
	if err != nil {
		return err
	}
	defer rc.Close()
	return content.Copy(ctx, w, rc, t.desc.Size, t.desc.Digest)
}

// broken reports errors of connections.
func broken(err error) bool {
	var ne net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) ||
		errdefs.IsUnavailable(err) || (errors.As(err, &ne) && ne.Timeout())
}
