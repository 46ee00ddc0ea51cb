package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
)

// maxDocument bounds a manifest or a configuration, in bytes.
const maxDocument = 8 << 20

// imageSet asks registries, without credentials.
type imageSet struct{ client *registry.Client }

func newImages() (*imageSet, error) {
	c, err := registry.New(registry.Config{Sessions: session.NewManager()})
	if err != nil {
		return nil, err
	}
	return &imageSet{client: c}, nil
}

func (s *imageSet) close() { s.client.Close() }

// resolve finds the digest and the configuration of an image.
func (s *imageSet) resolve(ctx context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	ref, ok := strings.CutPrefix(op.GetIdentifier(), "docker-image://")
	if !ok {
		return nil, fmt.Errorf("resolve %s: only images can be resolved: %w", op.GetIdentifier(), errdefs.ErrNotImplemented)
	}
	repo, err := s.client.Repository(ref, registry.Options{})
	if err != nil {
		return nil, err
	}
	root, err := repo.Resolve(ctx)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	platform := platforms.DefaultSpec()
	if opt.Platform != nil {
		platform = *opt.Platform
	}
	documents := documents{repo}
	desc, err := images.Config(ctx, documents, root, platforms.Only(platform))
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", ref, err)
	}
	config, err := content.ReadBlob(ctx, documents, desc)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", ref, err)
	}
	return &frontend.SourceMeta{Op: op, Image: &frontend.ImageMeta{Digest: root.Digest, Config: config}}, nil
}

// documents reads small blobs of a repository as a content store does.
type documents struct{ repo *registry.Repository }

// ReaderAt fetches a blob and verifies it.
func (d documents) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	if desc.Size > maxDocument {
		return nil, fmt.Errorf("document %s has %d bytes, at most %d are read: %w", desc.Digest, desc.Size, maxDocument, errdefs.ErrOutOfRange)
	}
	rc, err := d.repo.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, maxDocument))
	if err != nil {
		return nil, err
	}
	if desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		return nil, fmt.Errorf("document %s: its bytes have another digest: %w", desc.Digest, errdefs.ErrInvalidArgument)
	}
	return document{bytes.NewReader(data)}, nil
}

// document is a blob in memory.
type document struct{ *bytes.Reader }

// Close does nothing.
func (document) Close() error { return nil }
