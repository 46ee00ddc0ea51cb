package singlefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/ref"
)

// File is a file to be made.
type File struct {
	Attributes
	// Name is what it is called; SafeName is applied to it.
	Name string
	// ModTime is that of the file and of its directory.
	ModTime time.Time
	// MaxSize bounds it, in bytes.
	MaxSize int64
	// Algorithm of the digest.
	Algorithm digest.Algorithm
	// Check, optional, is told the digest before the layer is committed; its
	// error is Write's.
	Check func(digest.Digest) error
}

// Write makes a layer with the file, to be released by the caller. Bytes beyond
// MaxSize are errdefs ResourceExhausted. After an error nothing is left.
func Write(ctx context.Context, refs *ref.Store, f File, from io.Reader, opts ...ref.Option) (_ *ref.Ref, d digest.Digest, err error) {
	a, err := refs.Prepare(ctx, nil, opts...)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Discard(context.WithoutCancel(ctx)))
		}
	}()
	dir, release, err := a.Dir(ctx)
	if err != nil {
		return nil, "", err
	}
	d, err = f.write(dir, from)
	if err := errors.Join(err, release()); err != nil {
		return nil, "", err
	}
	if f.Check != nil {
		if err := f.Check(d); err != nil {
			return nil, "", err
		}
	}
	r, err := a.Commit(ctx)
	return r, d, err
}

// write makes the file in dir. Name, mode, owner and time are set on what was
// opened, through a root that nothing leads out of.
func (f *File) write(dir string, from io.Reader) (d digest.Digest, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	name := SafeName(f.Name)
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, DefaultPerm)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := f.Algorithm.Digester()
	n, err := io.Copy(io.MultiWriter(file, h.Hash()), io.LimitReader(from, f.MaxSize+1))
	if err != nil {
		return "", err
	}
	if n > f.MaxSize {
		return "", fmt.Errorf("more than %d bytes: %w", f.MaxSize, errdefs.ErrResourceExhausted)
	}
	if err := errors.Join(file.Chown(f.UID, f.GID), file.Chmod(f.mode())); err != nil {
		return "", err
	}
	return h.Digest(), errors.Join(root.Chtimes(name, f.ModTime, f.ModTime), root.Chtimes(".", f.ModTime, f.ModTime))
}
