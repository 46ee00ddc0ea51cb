package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/signature"
)

// hold keeps a ref as long as its session remembers what the URL has, so that a
// prune in the middle of a build does not change what its steps see. Without a
// session it is given back: nobody remembers.
func (s *Source) hold(ctx context.Context, env solver.Env, r *ref.Ref) {
	ctx = context.WithoutCancel(ctx)
	release := func() { _ = r.Release(ctx) }
	if !s.cfg.Sessions.AtEnd(env.Sessions(), release) {
		release()
	}
}

// reading calls fn with the bytes of a file that was transferred.
func (s *Source) reading(ctx context.Context, f found, fn func(io.ReadSeeker) error) (err error) {
	r, err := s.cfg.Refs.Get(ctx, f.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Release(context.WithoutCancel(ctx))) }()
	dir, release, err := r.Dir(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := root.OpenFile(f.Filename, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return fn(file)
}

// digest hashes a file, with suffix behind it.
func (s *Source) digest(ctx context.Context, f found, a digest.Algorithm, suffix []byte) (d digest.Digest, err error) {
	if !a.Available() {
		return "", fmt.Errorf("unsupported checksum algorithm %q: %w", a, errdefs.ErrInvalidArgument)
	}
	err = s.reading(ctx, f, func(file io.ReadSeeker) error {
		h := a.Digester()
		if _, err := io.Copy(h.Hash(), file); err != nil {
			return err
		}
		h.Hash().Write(suffix) // Never fails.
		d = h.Digest()
		return nil
	})
	return d, err
}

// pin compares a file with the digest it must have.
func (s *Source) pin(ctx context.Context, sp *spec, f found) error {
	got := f.Digest
	if sp.checksum == "" {
		return nil
	}
	if a := sp.checksum.Algorithm(); a != got.Algorithm() {
		var err error
		if got, err = s.digest(ctx, f, a, nil); err != nil {
			return fmt.Errorf("digest of %s: %w", sp.shown(), err)
		}
	}
	if got != sp.checksum {
		return mismatch(got, sp.checksum)
	}
	return nil
}

// verify checks the signature that a spec wants, if any.
func (s *Source) verify(ctx context.Context, sp *spec, f found) error {
	if len(sp.signature) == 0 {
		return nil
	}
	err := s.reading(ctx, f, func(file io.ReadSeeker) error {
		return signature.VerifyPGP(file, sp.signature, sp.keys, signature.Policy{})
	})
	if err != nil {
		return fmt.Errorf("failed to verify pgp signature of %s: %w", sp.shown(), err)
	}
	return nil
}

// checksum answers a request.
func (s *Source) checksum(ctx context.Context, f found, req *source.ChecksumRequest) (*source.ChecksumResponse, error) {
	d, err := s.digest(ctx, f, req.Algorithm, req.Suffix)
	if err != nil {
		return nil, err
	}
	return &source.ChecksumResponse{Digest: d, Suffix: req.Suffix}, nil
}

// checkRequest refuses requests that cannot be answered, before anything is
// transferred for them.
func checkRequest(req *source.ChecksumRequest) error {
	if req == nil {
		return nil
	}
	if len(req.Suffix) > source.MaxChecksumSuffix {
		return fmt.Errorf("http checksum request suffix exceeds max size %d: %w", source.MaxChecksumSuffix, errdefs.ErrInvalidArgument)
	}
	switch req.Algorithm {
	case digest.SHA256, digest.SHA384, digest.SHA512:
		return nil
	}
	return fmt.Errorf("unsupported checksum algorithm %q: %w", req.Algorithm, errdefs.ErrInvalidArgument)
}
